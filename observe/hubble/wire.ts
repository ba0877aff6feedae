/**
 * Messages as bytes of the protocol, straight from our plain objects: enums by name, numbers as numbers, what is not there left out.
 *
 * - Made from the definitions of the protocol's files, so numbers and types are theirs; a field that they do not have is passed over.
 * - Written from the end to the beginning, so that a message's length is known when it is written.
 * - What is frozen never changes, so its bytes are kept for as long as it is there: ends of flows are most of their bytes.
 */

interface FieldType {
  name: string;
  number: number;
  label: string;
  type: string;
  typeName: string;
}

interface Definition {
  type?: { field?: FieldType[]; value?: { name: string; number: number }[] };
}

/** Of proto-loader, by full name. */
export type Definitions = Readonly<Record<string, unknown>>;

type Write = (to: Backwards, value: unknown) => void;
type Plan = Record<string, Write>;

const BYTES_FIRST = 4096;

/** What message of that name is in bytes. */
export function wireEncoder(definitions: Definitions, name: string): (message: object) => Buffer {
  const plans = new Map<string, Plan>();
  const plan = planOf(definitions, name, plans);
  const to = new Backwards();
  return (message) => {
    to.clear();
    writeMessage(to, plan, message);
    return to.bytes();
  };
}

function planOf(definitions: Definitions, name: string, plans: Map<string, Plan>): Plan {
  const known = plans.get(name);
  if (known) return known;
  const plan: Plan = Object.create(null) as Plan;
  plans.set(name, plan);
  const { field = [] } = (definitions[name] as Definition).type ?? {};
  for (const one of field) plan[one.name] = fieldWriter(definitions, name, one, plans);
  return plan;
}

const WIRE = { varint: 0, bytes: 2 } as const;

function fieldWriter(definitions: Definitions, message: string, field: FieldType, plans: Map<string, Plan>): Write {
  const isRepeated = field.label === 'LABEL_REPEATED';
  const write = singleWriter(definitions, message, field, plans);
  if (!isRepeated) return write;
  const kept = new WeakMap<readonly unknown[], Buffer>();
  return (to, value) => {
    const list = value as readonly unknown[];
    const end = to.length;
    const isKept = Object.isFrozen(list);
    const before = isKept ? kept.get(list) : undefined;
    if (before) return to.copy(before);
    for (let i = list.length - 1; i >= 0; i--) write(to, list[i]);
    if (isKept) kept.set(list, to.bytes(to.length - end));
  };
}

function singleWriter(
  definitions: Definitions,
  message: string,
  { number, type, typeName, name }: FieldType,
  plans: Map<string, Plan>,
): Write {
  const tag = (wire: number): number => number * 8 + wire;
  switch (type) {
    case 'TYPE_STRING':
      return (to, value) => to.text(tag(WIRE.bytes), value as string);
    case 'TYPE_BOOL':
      return (to, value) => to.number(tag(WIRE.varint), value ? 1 : 0);
    case 'TYPE_INT32':
    case 'TYPE_INT64':
    case 'TYPE_UINT32':
    case 'TYPE_UINT64':
      return (to, value) => to.number(tag(WIRE.varint), value as number);
    case 'TYPE_ENUM': {
      const { value: values = [] } = (definitions[resolved(definitions, message, typeName)] as Definition).type ?? {};
      const numbers = new Map(values.map((one) => [one.name, one.number]));
      return (to, value) => {
        const known = numbers.get(value as string);
        if (known !== undefined) to.number(tag(WIRE.varint), known);
      };
    }
    case 'TYPE_MESSAGE': {
      let plan: Plan | undefined;
      const kept = new WeakMap<object, Buffer>();
      return (to, value) => {
        plan ??= planOf(definitions, resolved(definitions, message, typeName), plans);
        const inner = value as object;
        const end = to.length;
        const isKept = Object.isFrozen(inner);
        const before = isKept ? kept.get(inner) : undefined;
        if (before) to.copy(before);
        else {
          writeMessage(to, plan, inner);
          if (isKept) kept.set(inner, to.bytes(to.length - end));
        }
        to.varint(to.length - end);
        to.varint(tag(WIRE.bytes));
      };
    }
    default:
      return () => {
        throw new TypeError(`${message}.${name}: ${type} is not written by this encoder`);
      };
  }
}

function writeMessage(to: Backwards, plan: Plan, message: object): void {
  for (const name in message) {
    const value = (message as Record<string, unknown>)[name];
    if (value === undefined || value === null) continue;
    plan[name]?.(to, value);
  }
}

/** A name as the protocol's file has it: from the message outwards. */
function resolved(definitions: Definitions, message: string, name: string): string {
  for (let scope = message; ; scope = scope.slice(0, Math.max(0, scope.lastIndexOf('.')))) {
    const full = scope === '' ? name.replace(/^\./, '') : `${scope}.${name}`;
    if (definitions[full]) return full;
    if (scope === '') throw new TypeError(`${message}: there is no type ${name}`);
  }
}

/** A buffer that is filled from its end. */
class Backwards {
  #bytes = Buffer.allocUnsafe(BYTES_FIRST);
  #at = BYTES_FIRST;

  get length(): number {
    return this.#bytes.length - this.#at;
  }

  clear(): void {
    this.#at = this.#bytes.length;
  }

  /** A copy of all, or of what was written last. */
  bytes(count = this.length): Buffer {
    return Buffer.from(this.#bytes.subarray(this.#at, this.#at + count));
  }

  copy(bytes: Buffer): void {
    this.#room(bytes.length);
    this.#at -= bytes.length;
    bytes.copy(this.#bytes, this.#at);
  }

  text(tag: number, text: string): void {
    const size = Buffer.byteLength(text);
    this.#room(size);
    this.#at -= size;
    this.#bytes.write(text, this.#at, size, 'utf8');
    this.varint(size);
    this.varint(tag);
  }

  number(tag: number, value: number): void {
    this.varint(value);
    this.varint(tag);
  }

  /** Up to 2 ** 53; a negative one as its 64 bits. */
  varint(value: number): void {
    this.#room(10);
    if (value >= 0 && value < 0x80) {
      this.#bytes[--this.#at] = value;
      return;
    }
    if (value < 0 || value > Number.MAX_SAFE_INTEGER) {
      this.#varint64(BigInt.asUintN(64, BigInt(value)));
      return;
    }
    let size = 1;
    for (let rest = Math.floor(value / 128); rest > 0; rest = Math.floor(rest / 128)) size++;
    this.#at -= size;
    let rest = value;
    for (let i = 0; i < size; i++) {
      this.#bytes[this.#at + i] = (rest % 128) | (i < size - 1 ? 0x80 : 0);
      rest = Math.floor(rest / 128);
    }
  }

  #varint64(value: bigint): void {
    const groups: number[] = [];
    for (let rest = value; ; rest >>= 7n) {
      const isLast = rest < 0x80n;
      groups.push(Number(rest & 0x7fn) | (isLast ? 0 : 0x80));
      if (isLast) break;
    }
    this.#at -= groups.length;
    this.#bytes.set(groups, this.#at);
  }

  #room(size: number): void {
    if (this.#at >= size) return;
    const larger = Buffer.allocUnsafe(Math.max(2 * this.#bytes.length, this.length + size));
    const at = larger.length - this.length;
    this.#bytes.copy(larger, at, this.#at);
    this.#bytes = larger;
    this.#at = at;
  }
}
