// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import { type Btf, btfOfObject, btfStruct, kernelHasBtf } from './index.ts';
import { probeObject } from './testdata/setup.ts';

const btf: Btf = btfOfObject(probeObject);
const kindOf = (id: number | undefined) => btf.types[id ?? -1]?.kind;

test('structs keep member names, offsets, bit fields and the names C gave their types', () => {
  const value = btfStruct(btf, 'value');
  expect(value?.size).toBe(24);
  expect(
    value?.members.map(({ name, typeName, bitOffset, bitFieldSize }) => ({ name, typeName, bitOffset, bitFieldSize })),
  ).toEqual([
    { name: 'packets', typeName: '__u64', bitOffset: 0, bitFieldSize: 0 },
    { name: 'port_be', typeName: '__be16', bitOffset: 64, bitFieldSize: 0 },
    { name: 'other_port', typeName: 'tagged_port', bitOffset: 80, bitFieldSize: 0 },
    { name: 'low', typeName: '__u8', bitOffset: 96, bitFieldSize: 3 },
    { name: 'high', typeName: '__u8', bitOffset: 99, bitFieldSize: 5 },
    { name: 'verdict', typeName: 'enum verdict', bitOffset: 128, bitFieldSize: 0 },
    { name: '', typeName: 'union', bitOffset: 160, bitFieldSize: 0 },
  ]);
  expect(value?.members.map((member) => kindOf(member.type))).toEqual([
    'int',
    'int',
    'int',
    'int',
    'int',
    'enum',
    'union',
  ]);
});

test('ids are indexes, and typedefs resolve to the same integer', () => {
  expect(btf.types.map((type) => type.id)).toEqual([...btf.types.keys()]);
  const [, port, tagged] = btfStruct(btf, 'value')?.members ?? [];
  expect(port?.type).toBe(tagged?.type);
  expect(btf.types[port?.type ?? 0]).toMatchObject({ kind: 'int', size: 2, signed: false });
});

test('arrays, enums and nested structs', () => {
  const words = btfStruct(btf, 'addr')?.members[0];
  expect(btf.types[words?.type ?? 0]).toMatchObject({ kind: 'array', count: 4, size: 16, of: { typeName: '__be32' } });
  expect(btf.types.find((type) => type.kind === 'enum' && type.name === 'verdict')).toMatchObject({
    size: 4,
    signed: true,
    values: [
      { name: 'VERDICT_DENY', value: 0 },
      { name: 'VERDICT_ALLOW', value: 1 },
      { name: 'VERDICT_UNKNOWN', value: -1 },
    ],
  });
});

test('variables with section and offset', () => {
  expect(btf.variables.find((variable) => variable.name === 'config')).toMatchObject({
    section: '.rodata',
    offset: 0,
    size: 8,
    typeName: 'struct config',
  });
  expect(btf.variables.find((variable) => variable.name === 'seen')).toMatchObject({
    section: '.bss',
    size: 8,
    typeName: '__u64',
  });
});

test('maps with key and value types, inner maps too', () => {
  const map = (name: string) => btf.maps.find((each) => each.name === name);
  expect(map('ipcache')).toMatchObject({
    type: 'lpm_trie',
    keySize: 20,
    flags: 1,
    key: { typeName: 'struct trie_key' },
    value: { typeName: 'struct value' },
  });
  expect(map('policy')?.inner).toMatchObject({ type: 'hash', maxEntries: 16, key: { typeName: '__u32' } });
  expect(map('events')).toMatchObject({ type: 'ringbuf', key: { type: 0, typeName: 'void' }, inner: undefined });
});

test('it is plain JSON', () => {
  expect(JSON.parse(JSON.stringify(btf.types))).toEqual(btf.types);
  expect(kernelHasBtf()).toBeTypeOf('boolean');
});
