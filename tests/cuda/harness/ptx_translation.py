"""PTX to C, instruction by instruction: registers become variables, labels stay labels. What is not known
raises.

Written for what numba-cuda makes of kernels without warp functions and calls: arithmetic, comparisons,
conversions, memory of four kinds, barriers, atomic operations on global memory. NVIDIA, "Parallel Thread
Execution ISA", version 9.0.
"""

from __future__ import annotations

import re
from typing import Any

C_TYPES = {
    "pred": "uint8_t", "f32": "float", "f64": "double",
    **{f"{kind}{size}": f"{'u' * (kind != 's')}int{size}_t" for kind in "bsu" for size in (8, 16, 32, 64)},
}  # fmt: skip
SIZES = {name: 1 if name == "pred" else int(name[1:]) // 8 for name in C_TYPES}
SPECIAL = {
    "%tid.x": "thread_x_of[current->number]", "%ntid.x": "block_size.x", "%ctaid.x": "block_index.x",
    "%ctaid.y": "block_index.y", "%nctaid.x": "grid_size.x", "%nctaid.y": "grid_size.y",
}  # fmt: skip
COMPARISONS = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
COMPARISONS |= {"lo": "<", "ls": "<=", "hi": ">", "hs": ">="}
ROUNDINGS = {"rni": "rint", "rzi": "trunc", "rmi": "floor", "rpi": "ceil"}
_MODIFIERS = {"rn", "rz", "ftz", "approx", "lo", "wide", "hi", "uni", "relu", "sat", "nc", "volatile"}


def _c_name(name: str) -> str:
    return re.sub(r"\W", "_", name)


class Translation:
    """One kernel.

    Attributes
    ----------
    source
        C that follows ``machine.c``.
    parameters
        Names of the kernel's parameters, in order.
    """

    def __init__(self, ptx: str) -> None:
        self._registers: dict[str, str] = {}
        self._offsets: dict[str, tuple[str, int]] = {}  # of arrays: their kind of memory and where they begin
        self._sizes = {"shared": 0, "local": 0}
        self._barriers = 0
        lines = [re.sub(r"//.*", "", line) for line in ptx.split("\n")]
        if any(re.match(r"\s*(?:\.\w+ )*\.func\b", line) for line in lines):
            raise NotImplementedError("PTX with functions that were not inlined")
        self._globals = [found for line in lines if (found := self._global(line))]
        (entry,) = (i for i, line in enumerate(lines) if ".entry" in line)
        header, at = "", entry
        while not lines[at].strip().startswith("{"):
            header += lines[at]
            at += 1
        self.parameters = [
            part.split()[-1] for part in header.split("(", 1)[1].split(")")[0].split(",") if part.strip()
        ]
        body = [self._line(text, number + 1) for number, text in self._statements(lines, at + 1)]
        variables = [f"  {C_TYPES[kind]} {_c_name(name)} = 0;" for name, kind in self._registers.items()]
        self.source = "\n".join(
            [
                *self._globals,
                "static void kernel_body(void) {",
                *variables,
                *(part for part in body if part),
                "}",
            ]
        )

    def definitions(self, *, check: bool) -> str:
        """What ``machine.c`` has to know."""
        numbers = {
            "SHARED_BYTES": max(16, self._sizes["shared"]),
            "LOCAL_BYTES": -(-self._sizes["local"] // 16) * 16,
            "STACK_BYTES": (65536 + 16 * len(self._registers)) // 64 * 64,
            "HAS_BARRIERS": int(self._barriers > 0),
        }
        return (
            "".join(f"#define {name} {value}\n" for name, value in numbers.items())
            + "#define CHECK\n" * check
        )

    @staticmethod
    def _statements(lines: list[str], first: int) -> list[tuple[int, str]]:
        """Line numbers and statements, joined where one takes several lines."""
        found, held, begin, depth = [], "", first, 1
        for number in range(first, len(lines)):
            text = lines[number].strip()
            if not held and text in ("{", "}"):  # names of inner blocks do not hide others
                depth += 1 if text == "{" else -1
                if depth == 0:
                    break
                continue
            if not held:
                begin = number
            held = f"{held} {text}".strip()
            while (label := re.match(r"(\$?[\w$]+):\s*", held)) is not None:
                found.append((number, label[0].strip()))
                held = held[label.end() :]
            if held.endswith(";"):
                found.append((begin, held[:-1].strip()))
                held = ""
        return found

    def _global(self, line: str) -> str:
        """A variable outside of the kernel: shared arrays are laid out, the others become C variables."""
        found = re.match(
            r"\s*(?:\.\w+ )*\.(shared|global|const)\s+\.align (\d+) \.(\w+) ([\w$]+)(?:\[(\d+)\])?"
            r"(?:\s*=.*)?;",
            line,
        )
        if found is None:
            return ""
        space, align, kind, name, count = found.groups()
        if "=" in line:
            raise NotImplementedError(f"a {space} variable with a value")
        if space == "shared":
            self._place("shared", name, int(align), int(count or 1) * SIZES[kind])
            return ""
        return f"static {C_TYPES[kind]} {_c_name(name)}[{count or 1}];"

    def _place(self, space: str, name: str, align: int, size: int) -> None:
        begin = -(-self._sizes[space] // align) * align
        self._offsets[name] = space, begin
        self._sizes[space] = begin + size

    def _line(self, text: str, number: int) -> str:
        if text.endswith(":"):
            return f"L{_c_name(text[:-1])}:;"
        if text.startswith((".pragma", ".loc ", ".file")):
            return ""
        if found := re.match(r"\.reg \.(\w+)\s+(%\w+?)<(\d+)>", text):
            for i in range(int(found[3])):
                self._registers[f"{found[2]}{i}"] = found[1]
            return ""
        if found := re.match(r"\.reg \.(\w+)\s+(.*)", text):
            self._registers |= {name.strip(): found[1] for name in found[2].split(",")}
            return ""
        if found := re.match(r"\.local \.align (\d+) \.b8\s+([\w$]+)\[(\d+)\]", text):
            self._place("local", found[2], int(found[1]), int(found[3]))
            return ""
        condition = ""
        if found := re.match(r"@(!?)(%\w+)\s+(.*)", text, re.S):
            condition, text = f"if ({found[1]}{_c_name(found[2])}) ", found[3]
        operation, _, rest = text.partition(" ") if " " in text.split("\t")[0] else text.partition("\t")
        return f"  {condition}{{ {self._operation(operation.strip(), self._operands(rest), number)} }}"

    @staticmethod
    def _operands(text: str) -> list[str]:
        """Split at commas outside of brackets."""
        return [part.strip() for part in re.split(r",(?![^{\[]*[}\]])", text) if part.strip()]

    def _read(self, operand: str, kind: str) -> str:
        """C expression of an operand that is read as a PTX type."""
        if operand in SPECIAL:
            return f"(({C_TYPES[kind]}){SPECIAL[operand]})"
        if operand.startswith("!"):
            return f"(!{self._read(operand[1:], kind)})"
        if operand in self._registers:
            own = self._registers[operand]
            return self._cast(_c_name(operand), own, kind)
        if found := re.fullmatch(r"0[dD]([0-9a-fA-F]{16})", operand):
            return self._cast(f"0x{found[1]}ULL", "b64", kind)
        if found := re.fullmatch(r"0[fF]([0-9a-fA-F]{8})", operand):
            return self._cast(f"0x{found[1]}U", "b32", kind)
        if re.fullmatch(r"-?\d+|0x[0-9a-fA-F]+", operand):
            return f"(({C_TYPES[kind]}){operand}{'LL' if kind.startswith('s') else 'ULL'})"
        if operand in self._offsets:
            return f"((uint64_t){self._offsets[operand][1]})"
        raise NotImplementedError(f"PTX operand {operand}")

    @staticmethod
    def _cast(value: str, own: str, kind: str) -> str:
        """The same bits as another type."""
        if kind[0] == "f" and own[0] != "f":
            return f"to_{kind}({value})"
        if own[0] == "f" and kind[0] != "f":
            return f"(({C_TYPES[kind]})of_{own}({value}))"
        return f"(({C_TYPES[kind]}){value})"

    def _write(self, register: str, kind: str, value: str) -> str:
        own = self._registers[register]
        return f"{_c_name(register)} = {self._cast('(' + value + ')', kind, own)};"

    def _address(self, operand: str) -> tuple[str, str | None]:
        """Address or offset of [base + offset], and the kind of memory where the base is an array."""
        base, _, offset = operand[1:-1].partition("+")
        base = base.strip()
        if base in self._offsets:
            space, begin = self._offsets[base]
            return f"((uint64_t){begin + int(offset or 0)})", space
        return f"({self._read(base, 'u64')} + {int(offset or 0)})", None

    def _operation(self, operation: str, operands: list[str], line: int) -> str:
        name, *parts = operation.split(".")
        method: Any = getattr(self, f"_do_{name}", None)
        if method is None:
            raise NotImplementedError(f"PTX instruction {operation} (line {line})")
        return str(method(parts, operands, line))

    def _binary(self, parts: list[str], operands: list[str], sign: str) -> str:
        kind = parts[-1]
        left, right = (self._read(operand, kind) for operand in operands[1:])
        return self._write(operands[0], kind, f"({C_TYPES[kind]})({left} {sign} {right})")

    def _do_add(self, parts: list[str], operands: list[str], line: int) -> str:
        return self._binary(parts, operands, "+")

    def _do_sub(self, parts: list[str], operands: list[str], line: int) -> str:
        return self._binary(parts, operands, "-")

    def _do_and(self, parts: list[str], operands: list[str], line: int) -> str:
        return self._binary(parts, operands, "&")

    def _do_or(self, parts: list[str], operands: list[str], line: int) -> str:
        return self._binary(parts, operands, "|")

    def _do_xor(self, parts: list[str], operands: list[str], line: int) -> str:
        return self._binary(parts, operands, "^")

    def _do_div(self, parts: list[str], operands: list[str], line: int) -> str:
        if parts[-1][0] == "f":
            return self._binary(parts, operands, "/")
        return self._by_integer(parts, operands, "/")

    def _do_rem(self, parts: list[str], operands: list[str], line: int) -> str:
        return self._by_integer(parts, operands, "%")

    def _by_integer(self, parts: list[str], operands: list[str], sign: str) -> str:
        kind = parts[-1]
        left, right = (self._read(operand, kind) for operand in operands[1:])
        # by zero: any value; ours is -1
        return self._write(operands[0], kind, f"({right} ? {left} {sign} {right} : ({C_TYPES[kind]})-1)")

    def _do_mul(self, parts: list[str], operands: list[str], line: int) -> str:
        kind = parts[-1]
        if kind[0] == "f":
            return self._binary(parts, operands, "*")
        return self._product(parts, operands, "")

    def _do_mad(self, parts: list[str], operands: list[str], line: int) -> str:
        return self._product(parts, operands, operands[3])

    def _product(self, parts: list[str], operands: list[str], added: str) -> str:
        kind, bits = parts[-1], 8 * SIZES[parts[-1]]
        left, right = (self._read(operand, kind) for operand in operands[1:3])
        result = f"{kind[0]}{2 * bits}" if "wide" in parts else kind
        if "wide" in parts:
            value = f"({C_TYPES[result]}){left} * ({C_TYPES[result]}){right}"
        elif "hi" in parts:
            value = f"({'' if kind[0] == 's' else 'unsigned '}__int128){left} * {right} >> {bits}"
        else:
            value = f"{left} * {right}"
        more = f" + {self._read(added, result)}" if added else ""
        return self._write(operands[0], result, f"({C_TYPES[result]})(({value}){more})")

    def _do_fma(self, parts: list[str], operands: list[str], line: int) -> str:
        kind = parts[-1]
        values = ", ".join(self._read(operand, kind) for operand in operands[1:])
        return self._write(operands[0], kind, f"{'fma' if kind == 'f64' else 'fmaf'}({values})")

    def _unary(self, parts: list[str], operands: list[str], real: str, whole: str) -> str:
        kind = parts[-1]
        value = (real if kind[0] == "f" else whole).format(self._read(operands[1], kind))
        return self._write(operands[0], kind, f"({C_TYPES[kind]})({value})")

    def _do_neg(self, parts: list[str], operands: list[str], line: int) -> str:
        return self._unary(parts, operands, "-{0}", "-{0}")

    def _do_abs(self, parts: list[str], operands: list[str], line: int) -> str:
        return self._unary(parts, operands, "fabs({0})", "({0} < 0 ? -{0} : {0})")

    def _do_sqrt(self, parts: list[str], operands: list[str], line: int) -> str:
        return self._unary(parts, operands, "sqrt({0})", "")

    def _do_not(self, parts: list[str], operands: list[str], line: int) -> str:
        return self._unary(parts, operands, "", "!{0}" if parts[-1] == "pred" else "~{0}")

    def _do_rcp(self, parts: list[str], operands: list[str], line: int) -> str:
        if parts != ["approx", "ftz", "f64"]:
            return self._unary(parts, operands, "1 / {0}", "")
        # 20 bits of the mantissa; the compiler refines it
        return self._unary(parts, operands, "to_f64(of_f64(1 / {0}) & 0xFFFFFFFF00000000ULL)", "")

    def _do_min(self, parts: list[str], operands: list[str], line: int) -> str:
        return self._extreme(parts, operands, "min", "<")

    def _do_max(self, parts: list[str], operands: list[str], line: int) -> str:
        return self._extreme(parts, operands, "max", ">")

    def _extreme(self, parts: list[str], operands: list[str], name: str, sign: str) -> str:
        kind = parts[-1]
        left, right = (self._read(operand, kind) for operand in operands[1:])
        value = (
            f"f{name}({left}, {right})" if kind[0] == "f" else f"({left} {sign} {right} ? {left} : {right})"
        )
        return self._write(operands[0], kind, value)

    def _do_shl(self, parts: list[str], operands: list[str], line: int) -> str:
        kind, count = parts[-1], self._read(operands[2], "u32")
        value = f"({count} < {8 * SIZES[kind]} ? {self._read(operands[1], kind)} << {count} : 0)"
        return self._write(operands[0], kind, f"({C_TYPES[kind]}){value}")

    def _do_shr(self, parts: list[str], operands: list[str], line: int) -> str:
        kind, count, last = parts[-1], self._read(operands[2], "u32"), 8 * SIZES[parts[-1]] - 1
        # a signed number is filled with its sign
        most = f"({count} < {last} ? {count} : {last})" if kind[0] == "s" else count
        value = f"{self._read(operands[1], kind)} >> {most}"
        return self._write(
            operands[0], kind, value if kind[0] == "s" else f"({count} <= {last} ? {value} : 0)"
        )

    def _do_bfi(self, parts: list[str], operands: list[str], line: int) -> str:
        kind = parts[-1]
        inserted, base = (self._read(operand, kind) for operand in operands[1:3])
        start, length = int(operands[3]), int(operands[4])
        mask = ((1 << length) - 1 << start) % (1 << 8 * SIZES[kind])
        return self._write(
            operands[0], kind, f"(({base} & ~{mask}ULL) | ({inserted} << {start} & {mask}ULL))"
        )

    def _do_bfe(self, parts: list[str], operands: list[str], line: int) -> str:
        kind = parts[-1]
        if kind[0] == "s":
            raise NotImplementedError("bfe of signed numbers")
        start, length = int(operands[2]), int(operands[3])
        value = f"({self._read(operands[1], kind)} >> {start} & {(1 << length) - 1}ULL)"
        return self._write(operands[0], kind, value)

    def _do_popc(self, parts: list[str], operands: list[str], line: int) -> str:
        return self._write(
            operands[0], "u32", f"__builtin_popcountll({self._read(operands[1], 'u' + parts[-1][1:])})"
        )

    def _do_clz(self, parts: list[str], operands: list[str], line: int) -> str:
        bits, value = 8 * SIZES[parts[-1]], self._read(operands[1], "u" + parts[-1][1:])
        return self._write(operands[0], "u32", f"({value} ? __builtin_clzll({value}) - {64 - bits} : {bits})")

    def _do_setp(self, parts: list[str], operands: list[str], line: int) -> str:
        how, kind = parts[0], parts[-1]
        left, right = (self._read(operand, kind) for operand in operands[1:3])
        unordered = f"({left} != {left} || {right} != {right})"
        if how in ("num", "nan"):
            value = f"!{unordered}" if how == "num" else unordered
        elif kind[0] == "f" and how not in COMPARISONS:  # equ, ltu, ...: true of NaN
            value = f"({unordered} || {left} {COMPARISONS[how[:-1]]} {right})"
        elif how == "ne" and kind[0] == "f":
            value = f"(!{unordered} && {left} != {right})"
        else:
            value = f"({left} {COMPARISONS[how]} {right})"
        if len(parts) > 2 and parts[1] in ("and", "or", "xor"):
            sign = {"and": "&", "or": "|", "xor": "^"}[parts[1]]
            value = f"({value} {sign} {self._read(operands[3], 'pred')})"
        return self._write(operands[0], "pred", value)

    def _do_selp(self, parts: list[str], operands: list[str], line: int) -> str:
        kind = parts[-1]
        yes, no = (self._read(operand, kind) for operand in operands[1:3])
        return self._write(operands[0], kind, f"({self._read(operands[3], 'pred')} ? {yes} : {no})")

    def _do_cvt(self, parts: list[str], operands: list[str], line: int) -> str:
        to, of = parts[-2:]
        value = self._read(operands[1], of)
        rounding = next((ROUNDINGS[part] for part in parts[:-2] if part in ROUNDINGS), None)
        if of[0] == "f" and to[0] != "f":
            if rounding is None:
                raise NotImplementedError(f"PTX conversion {parts}")
            bits = 8 * SIZES[to]
            low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if to[0] == "s" else (0, 2**bits - 1)
            lowest = f"({low + 1}LL - 1)" if low else "0"
            # beyond the range: the nearest; NaN: 0 of 32 bits, the lowest of 64
            rounded = f"double rounded = {rounding}({value}); "
            value = (
                f"rounded != rounded ? {'0' if bits == 32 else lowest} : "
                f"rounded <= {float(low)!r} ? {lowest} : rounded >= {float(high)!r} ? "
                f"{high}{'LL' if to[0] == 's' else 'ULL'} : ({C_TYPES[to]})rounded"
            )
            return rounded + self._write(operands[0], to, f"({C_TYPES[to]})({value})")
        if rounding is not None:
            value = f"{rounding}({value})"
        return self._write(operands[0], to, f"({C_TYPES[to]}){value}")

    def _do_cvta(self, parts: list[str], operands: list[str], line: int) -> str:
        if "global" not in parts:
            raise NotImplementedError("generic addresses of shared or local memory")
        return self._do_mov(parts, operands, line)

    def _do_mov(self, parts: list[str], operands: list[str], line: int) -> str:
        kind, (target, source) = parts[-1], operands
        if target.startswith("{"):  # halves of a number
            halves = [part.strip() for part in target[1:-1].split(",")]
            bits = 8 * SIZES[kind] // len(halves)
            value = f"uint64_t whole = {self._read(source, f'u{8 * SIZES[kind]}')}; "
            kept = (
                self._write(half, f"u{bits}", f"(uint{bits}_t)(whole >> {bits * i})")
                for i, half in enumerate(halves)
                if half != "_"
            )
            return value + " ".join(kept)
        if source.startswith("{"):
            halves = [part.strip() for part in source[1:-1].split(",")]
            bits = 8 * SIZES[kind] // len(halves)
            value = " | ".join(
                f"(uint64_t){self._read(half, f'u{bits}')} << {bits * i}" for i, half in enumerate(halves)
            )
            return self._write(target, f"u{8 * SIZES[kind]}", f"(uint{8 * SIZES[kind]}_t)({value})")
        return self._write(target, kind, self._read(source, kind))

    def _do_ld(self, parts: list[str], operands: list[str], line: int) -> str:
        kind, target, source = parts[-1], *operands
        if "param" in parts:
            name, _, offset = source[1:-1].partition("+")
            place = f"(uint64_t)(parameters + {self.parameters.index(name.strip())}) + {int(offset or 0)}"
            return self._write(target, kind, f"LOAD({C_TYPES[kind]}, {place})")
        names = [part.strip() for part in target.strip("{}").split(",")]
        check, address = self._memory(parts, source, SIZES[kind] * len(names), "READ", line)
        loads = " ".join(
            self._write(name, kind, f"LOAD({C_TYPES[kind]}, address + {SIZES[kind] * i})")
            for i, name in enumerate(names)
        )
        return f"{check} uint64_t address = {address}; {loads}"

    def _do_st(self, parts: list[str], operands: list[str], line: int) -> str:
        kind, target, source = parts[-1], *operands
        names = [part.strip() for part in source.strip("{}").split(",")]
        check, address = self._memory(parts, target, SIZES[kind] * len(names), "WRITE", line)
        stores = " ".join(
            f"STORE({C_TYPES[kind]}, address + {SIZES[kind] * i}, {self._read(name, kind)});"
            for i, name in enumerate(names)
        )
        return f"{check} uint64_t address = {address}; {stores}"

    def _memory(self, parts: list[str], operand: str, size: int, how: str, line: int) -> tuple[str, str]:
        """The check of an access, and its address on the host."""
        where, array = self._address(operand)
        space = array or next((part for part in parts if part in ("shared", "local", "const")), "global")
        if space == "shared":
            return f"check_shared({where}, {size}, {how}, {line});", f"(uint64_t)shared + {where}"
        if space == "local":
            return f"check_local({where}, {size}, {line});", f"(uint64_t)current->local + {where}"
        return f"check_global({where}, {size}, {how}, {line});", where  # generic ones are global here

    def _do_atom(self, parts: list[str], operands: list[str], line: int) -> str:
        kind = parts[-1]
        how = next(part for part in parts if part in ("add", "min", "max", "exch", "and", "or", "xor", "cas"))
        check, address = self._memory(parts, operands[1], SIZES[kind], "ATOMIC", line)
        value = self._read(operands[2], kind)
        new = {
            "add": f"before + {value}", "min": f"(before < {value} ? before : {value})", "exch": value,
            "max": f"(before > {value} ? before : {value})", "and": f"before & {value}",
            "or": f"before | {value}",
            "xor": f"before ^ {value}",
        }.get(how) or f"(before == {value} ? {self._read(operands[3], kind)} : before)"  # fmt: skip
        kept = self._write(operands[0], kind, "before") if operands[0] != "_" else ""
        return (
            f"{check} uint64_t address = {address}; {C_TYPES[kind]} before = LOAD({C_TYPES[kind]}, address); "
            f"STORE({C_TYPES[kind]}, address, {new}); {kept}"
        )

    def _do_red(self, parts: list[str], operands: list[str], line: int) -> str:
        return self._do_atom(parts, ["_", *operands], line)

    def _do_bar(self, parts: list[str], operands: list[str], line: int) -> str:
        if parts[0] != "sync" or operands != ["0"]:
            raise NotImplementedError(f"PTX barrier {parts} {operands}")
        self._barriers += 1
        return f"barrier({line});"

    def _do_bra(self, parts: list[str], operands: list[str], line: int) -> str:
        return f"goto L{_c_name(operands[0])};"

    def _do_ret(self, parts: list[str], operands: list[str], line: int) -> str:
        return "return;"
