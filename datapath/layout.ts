/**
 * Where the fields of a struct lie, as plain JSON: of an object's BTF, or of a map's that another build has made.
 *
 * - Padding is no field. An array of integers is one field; of structs, each element's fields are. A union is bytes.
 */
import { createHash } from 'node:crypto';
import { type Btf, type BtfRef, btfStruct } from '../native/index.ts';

/** `host` and `network` are byte orders. */
export type ByteOrder = 'host' | 'network';

export interface LayoutField {
  /** As C would name it from the struct: `peer[0].frontend.port`; empty for what is no struct. */
  readonly path: string;
  readonly offset: number;
  /** Bytes of one element. */
  readonly size: number;
  readonly count: number;
  readonly order: ByteOrder;
}

export interface Layout {
  readonly size: number;
  readonly fields: readonly LayoutField[];
}

const HASH_DIGITS = 16;

export function layoutOf(btf: Pick<Btf, 'types'>, ref: BtfRef): Layout {
  const fields: LayoutField[] = [];
  const size = addFields(btf, ref, '', 0, fields);
  return { size, fields };
}

/** Undefined when there is no such struct. */
export function layoutOfStruct(btf: Pick<Btf, 'types'>, name: string): Layout | undefined {
  const type = btfStruct(btf, name);
  return type && layoutOf(btf, { type: type.id, typeName: `struct ${name}` });
}

/** Appends the fields of a use of a type; returns its bytes. */
function addFields(btf: Pick<Btf, 'types'>, ref: BtfRef, path: string, offset: number, into: LayoutField[]): number {
  const type = btf.types[ref.type];
  const order = ref.typeName.startsWith('__be') ? 'network' : 'host';
  switch (type?.kind) {
    case 'int':
    case 'enum':
      into.push({ path, offset, size: type.size, count: 1, order });
      return type.size;
    case 'array': {
      const element = btf.types[type.of.type];
      const elementOrder = type.of.typeName.startsWith('__be') ? 'network' : 'host';
      if (element?.kind === 'int') {
        into.push({ path, offset, size: element.size, count: type.count, order: elementOrder });
        return type.size;
      }
      const bytes = type.size / type.count;
      for (let i = 0; i < type.count; i++) addFields(btf, type.of, `${path}[${i}]`, offset + i * bytes, into);
      return type.size;
    }
    case 'struct':
      for (const member of type.members) {
        if (member.name.startsWith('pad')) continue;
        const name = path === '' ? member.name : `${path}.${member.name}`;
        addFields(btf, member, name, offset + member.bitOffset / 8, into);
      }
      return type.size;
    case 'union':
      into.push({ path, offset, size: 1, count: type.size, order: 'host' });
      return type.size;
    default:
      throw new TypeError(`no layout of ${type?.kind ?? 'nothing'} ${ref.typeName} (${path})`);
  }
}

/** The same for the same bytes of the same fields. */
export const hashOfLayout = (layout: Layout): string =>
  createHash('sha256').update(JSON.stringify(layout)).digest('hex').slice(0, HASH_DIGITS);

export const isSameLayout = (a: Layout, b: Layout): boolean => JSON.stringify(a) === JSON.stringify(b);

/** What of `from` is elsewhere, of another size or gone in `to`, and what is new there; for people. */
export function layoutChanges(from: Layout, to: Layout): string[] {
  const after = new Map(to.fields.map((field) => [field.path, field]));
  const before = new Set(from.fields.map(({ path }) => path));
  const changes = from.fields.flatMap((field) => {
    const now = after.get(field.path);
    if (!now) return [`${field.path} is gone`];
    const [was, is] = [field.size * field.count, now.size * now.count];
    if (was !== is) return [`${field.path} has ${is} bytes, had ${was}`];
    if (field.order !== now.order) return [`${field.path} is in ${now.order} byte order`];
    return field.offset === now.offset ? [] : [`${field.path} is at ${now.offset}, was at ${field.offset}`];
  });
  const added = to.fields.filter(({ path }) => !before.has(path)).map(({ path }) => `${path} is new`);
  const sizes = from.size === to.size ? [] : [`${to.size} bytes, were ${from.size}`];
  return [...changes, ...added, ...sizes];
}
