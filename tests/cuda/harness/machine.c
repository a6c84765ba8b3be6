/* One block of CUDA threads after another, on the CPU. Included before the translated kernel, which is `kernel_body`.

   A thread is a fiber with a stack of its own. It runs until it waits at a barrier or ends; when all threads of the block wait
   at the same barrier, all go on. With CHECK, every access is looked at: is it inside an array of the launch, aligned, allowed to
   write, and could another thread's access to the same word have come first or last?  Two accesses of different threads, one of
   them a write, are a race unless a barrier lies between (same block); of different blocks, always. */
#define _GNU_SOURCE
#include <math.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

enum { RUNNING, WAITING, DONE, FAILED };

typedef struct {
  uint32_t number; /* in the block */
  int state, site; /* PTX line of the barrier that it waits at */
  int started;
  jmp_buf resume;
  ucontext_t first;
  char *stack, *local;
} Thread;

/* Who touched a word last: of a write, and of a read; epochs count barriers, blocks count from 1. */
typedef struct {
  uint32_t write_block, write_epoch, write_thread;
  uint32_t read_block, read_epoch, read_thread; /* read_thread MANY: several threads of that epoch */
} Shadow;

#define MANY 0xFFFFFFFFu

typedef struct {
  uint64_t begin, end;
  uint64_t read_only;
  Shadow *shadow;
} Region;

typedef struct { uint32_t x, y, z; } Index;

static Index grid_size, block_size, block_index;
static uint32_t thread_x_of[1024], epoch, block_number;
static Thread *current;
static jmp_buf scheduler;
static const uint64_t *parameters;
static Region *regions;
static int num_regions;
static char *shared;
static Shadow *shared_shadow;
static char message[512];

static inline double to_f64(uint64_t bits) { double value; memcpy(&value, &bits, 8); return value; }
static inline uint64_t of_f64(double value) { uint64_t bits; memcpy(&bits, &value, 8); return bits; }
static inline float to_f32(uint32_t bits) { float value; memcpy(&value, &bits, 4); return value; }
static inline uint32_t of_f32(float value) { uint32_t bits; memcpy(&bits, &value, 4); return bits; }

static void fail(const char *what, int line) {
  snprintf(message, sizeof message, "%s (PTX line %d, block %u,%u, thread %u)", what, line, block_index.x, block_index.y,
           current->number);
  current->state = FAILED;
  _longjmp(scheduler, 1);
}

static inline void barrier(int line) {
  current->state = WAITING;
  current->site = line;
  if (!_setjmp(current->resume)) _longjmp(scheduler, 1);
}

#ifdef CHECK
enum { READ, WRITE, ATOMIC };

static void touch(Shadow *word, int how, int line, const char *race_in_block) {
  uint32_t self = current->number;
  if (how == ATOMIC) return;
  if (word->write_block == block_number) {
    if (word->write_epoch == epoch && word->write_thread != self) fail(race_in_block, line);
  } else if (word->write_block)
    fail("race: another block of the launch wrote this", line);
  if (how == WRITE) {
    if (word->read_block == block_number) {
      if (word->read_epoch == epoch && word->read_thread != self) fail(race_in_block, line);
    } else if (word->read_block)
      fail("race: another block of the launch read this", line);
    word->write_block = block_number, word->write_epoch = epoch, word->write_thread = self;
  } else {
    int joined = word->read_block == block_number && word->read_epoch == epoch && word->read_thread != self;
    word->read_block = block_number, word->read_epoch = epoch, word->read_thread = joined ? MANY : self;
  }
}

static void check_global(uint64_t address, int size, int how, int line) {
  if (address % size) fail("unaligned access", line);
  for (int i = 0; i < num_regions; i++)
    if (address >= regions[i].begin && address + size <= regions[i].end) {
      if (how != READ && regions[i].read_only) fail("write to a read-only argument", line);
      for (uint64_t k = (address - regions[i].begin) / 4; k <= (address - regions[i].begin + size - 1) / 4; k++)
        touch(regions[i].shadow + k, how, line, "race in global memory");
      return;
    }
  fail("out of bounds: global memory", line);
}

static void check_shared(uint64_t offset, int size, int how, int line) {
  if (offset % size) fail("unaligned access", line);
  if (offset + size > SHARED_BYTES) fail("out of bounds: shared memory", line);
  for (uint64_t k = offset / 4; k <= (offset + size - 1) / 4; k++)
    touch(shared_shadow + k, how, line, "race in shared memory");
}

static void check_local(uint64_t offset, int size, int line) {
  if (offset % size) fail("unaligned access", line);
  if (offset + size > LOCAL_BYTES) fail("out of bounds: local memory", line);
}
#else
#define check_global(address, size, how, line)
#define check_shared(offset, size, how, line)
#define check_local(offset, size, line)
#endif

#define LOAD(type, address) ({ type loaded; memcpy(&loaded, (void *)(uintptr_t)(address), sizeof loaded); loaded; })
#define STORE(type, address, value) do { type stored = (value); memcpy((void *)(uintptr_t)(address), &stored, sizeof stored); } while (0)

static void kernel_body(void);

static void begin_fiber(void) {
  kernel_body();
  current->state = DONE;
  _longjmp(scheduler, 1);
}

static void resume(Thread *thread) {
  current = thread;
  if (_setjmp(scheduler)) return;
  if (thread->started) _longjmp(thread->resume, 1);
  thread->started = 1;
  setcontext(&thread->first);
}

/* All threads of a block; `schedule` other than 0 is the seed of the order in which they run. Returns 1 on a fault. */
static int run_block(Thread *threads, int count, uint64_t schedule) {
  uint64_t random = schedule | 1;
  for (int i = 0; i < count; i++) {
    threads[i].state = RUNNING, threads[i].started = 0, threads[i].number = i;
    getcontext(&threads[i].first);
    threads[i].first.uc_stack.ss_sp = threads[i].stack, threads[i].first.uc_stack.ss_size = STACK_BYTES;
    threads[i].first.uc_link = 0;
    makecontext(&threads[i].first, begin_fiber, 0);
  }
  for (;;) {
    int shift = 0, backwards = 0, done = 0, site = 0, same = 1;
    if (schedule) {
      random ^= random << 13, random ^= random >> 7, random ^= random << 17;
      shift = random % count, backwards = random >> 40 & 1;
    }
    for (int k = 0; k < count; k++) {
      Thread *thread = threads + ((backwards ? count - 1 - k : k) + shift) % count;
      if (thread->state == RUNNING) resume(thread);
      if (thread->state == FAILED) return 1;
    }
    for (int i = 0; i < count; i++) {
      if (threads[i].state == DONE) done++;
      else if (!site) site = threads[i].site;
      else if (site != threads[i].site) same = 0;
    }
    if (done == count) return 0;
    if (done || !same) {
      snprintf(message, sizeof message, "divergent barrier: %d threads have ended, others wait at PTX line %d%s (block %u,%u)",
               done, site, same ? "" : " and elsewhere", block_index.x, block_index.y);
      return 1;
    }
    epoch++;
    for (int i = 0; i < count; i++) threads[i].state = RUNNING;
  }
}

/* Returns 0, or 1 with what went wrong in `error`. `given`: (begin, end, read-only) of each array. */
int launch(const uint32_t *grid, const uint32_t *block, const uint64_t *values, const uint64_t *given, int num_given,
           uint64_t schedule, char *error, int error_size) {
  int count = block[0] * block[1] * block[2], fault = 0;
  grid_size = (Index){grid[0], grid[1], grid[2]}, block_size = (Index){block[0], block[1], block[2]};
  parameters = values, num_regions = num_given, message[0] = 0, block_number = 0;
  regions = calloc(num_given + 1, sizeof *regions);
  for (int i = 0; i < num_given; i++) {
    regions[i] = (Region){given[3 * i], given[3 * i + 1], given[3 * i + 2], 0};
#ifdef CHECK
    regions[i].shadow = calloc((regions[i].end - regions[i].begin) / 4 + 2, sizeof(Shadow));
#endif
  }
  shared = aligned_alloc(64, SHARED_BYTES + 64 - SHARED_BYTES % 64);
  shared_shadow = calloc(SHARED_BYTES / 4 + 2, sizeof(Shadow));
  Thread *threads = calloc(count, sizeof *threads);
  char *stacks = malloc((size_t)count * STACK_BYTES), *locals = malloc((size_t)count * LOCAL_BYTES + 16);
  for (int i = 0; i < count; i++)
    threads[i].stack = stacks + (size_t)i * STACK_BYTES, threads[i].local = locals + (size_t)i * LOCAL_BYTES,
    thread_x_of[i] = i % block[0];
  for (uint32_t y = 0; y < grid[1] && !fault; y++)
    for (uint32_t x = 0; x < grid[0] && !fault; x++) {
      block_index = (Index){x, y, 0};
      block_number++, epoch++;
      memset(shared, 0xFF, SHARED_BYTES); /* NaN: nothing may rely on what shared memory held before */
#ifdef CHECK
      memset(shared_shadow, 0, (SHARED_BYTES / 4 + 2) * sizeof(Shadow));
#endif
      if (HAS_BARRIERS) {
        fault = run_block(threads, count, schedule);
        continue;
      }
      for (int i = 0; i < count && !fault; i++) {
        current = threads + i;
        current->number = i;
        if (!_setjmp(scheduler)) kernel_body();
        else fault = 1;
      }
    }
  for (int i = 0; i < num_given; i++) free(regions[i].shadow);
  free(regions), free(shared), free(shared_shadow), free(threads), free(stacks), free(locals);
  snprintf(error, error_size, "%s", message);
  return fault;
}
