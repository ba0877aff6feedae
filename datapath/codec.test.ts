/** Codecs: rows to bytes and back for every struct of the object; layouts are those of its BTF. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type BtfType, btfOfObject } from '../native/index.ts';
import { type Codec, Codecs, encode } from './codec.ts';
import { smallObject } from './testdata/small-object.ts';

const btf = btfOfObject(smallObject());
const names = new Map([
  [7, 'lxc7'],
  [8, 'eth0'],
]);
const links = {
  indexOf: (name: string): number => {
    for (const [index, known] of names) if (known === name) return index;
    throw new TypeError(`no link ${name}`);
  },
  nameOf: (index: number) => names.get(index),
};

const structs = [
  'endpoint',
  'ipcache_key',
  'ipcache_entry',
  'netdev',
  'ct_key',
  'ct_entry',
  'nat_key',
  'nat_entry',
].concat(['fragment_key', 'fragment_ports', 'metric', 'config']);

/** Where a struct keeps what is no padding: those bytes are what a codec must keep. */
function meaningful(struct: string): boolean[] {
  const type = btf.types.find(
    (candidate): candidate is Extract<BtfType, { kind: 'struct' | 'union' }> =>
      candidate.kind === 'struct' && candidate.name === struct,
  );
  if (!type) throw new Error(struct);
  const kept = new Array<boolean>(type.size).fill(false);
  const sizeOf = (id: number): number => {
    const member = btf.types[id];
    return member && 'size' in member ? member.size : 0;
  };
  for (const member of type.members) {
    if (!member.name.startsWith('pad'))
      kept.fill(true, member.bitOffset / 8, member.bitOffset / 8 + sizeOf(member.type));
  }
  return kept;
}

describe('codecs', () => {
  // Prefixes have values that mean the same (host bits, more than 128 bits): tested with addresses.
  test.each(structs.filter((name) => name !== 'ipcache_key' && name !== 'config'))(
    'struct %s: bytes to row and back',
    (name) => {
      const codec = new Codecs(btf).struct(name);
      const kept = meaningful(name);
      fc.assert(
        fc.property(fc.uint8Array({ minLength: codec.size, maxLength: codec.size }), (array) => {
          const bytes = Buffer.from(array.map((byte, i) => (kept[i] ? byte : 0)));
          expect(encode(codec, codec.read(bytes, 0))).toEqual(bytes);
        }),
      );
    },
  );

  test.each([
    [
      'endpoint',
      {
        link: 'lxc7',
        identity: 300,
        id: 5,
        flags: 3,
        policyRevision: 2,
        mac: '02:00:00:00:00:01',
        hostMac: '02:00:00:00:00:02',
      },
    ],
    ['ipcache_entry', { identity: 2 ** 32 - 1, tunnelEndpoint: 'fd00::1', encryptKey: 255, flags: 0 }],
    ['nat_entry', { addr: '10.0.0.1', port: 443, created: 1, verified: 2 }],
  ])('struct %s: row to bytes and back', (name, row) => {
    const codec = new Codecs(btf, links).struct(name);
    expect(codec.read(encode(codec, row), 0)).toEqual(row);
  });

  test('ports are in network order, everything else in host order', () => {
    const bytes = encode(new Codecs(btf).struct('nat_entry'), { addr: '', port: 0x0102, created: 0x0304, verified: 0 });
    expect(bytes.subarray(16, 28).toString('hex')).toBe('0102' + '0000' + '04030000' + '00000000');
  });

  test('a prefix of IPv4 is 96 longer in the map', () => {
    const { key } = new Codecs(btf).map('ipcache') as { key: Codec };
    expect(encode(key, '10.0.0.0/8').toString('hex')).toBe('68000000' + '00000000000000000000ffff0a000000');
    expect(key.read(encode(key, '0.0.0.0/0'), 0)).toBe('0.0.0.0/0');
    expect(key.read(encode(key, '::/0'), 0)).toBe('::/0');
  });

  test('a link that is gone is its number', () => {
    const codec = new Codecs(btf, links).link();
    expect(codec.read(encode(codec, '#12'), 0)).toBe('#12');
    expect(codec.read(encode(codec, 'lxc7'), 0)).toBe('lxc7');
    expect(() => encode(codec, 'nolink')).toThrow('no link nolink');
  });

  test.each([
    ['identity', -1, 'is no integer of 0..4294967295'],
    ['identity', 1.5, 'is no integer'],
    ['identity', '7', 'is no integer'],
    ['mac', '02:00', 'is no MAC address'],
    ['hostMac', undefined, 'is no text'],
  ])('field %s with %j is refused by name', (field, value, why) => {
    const codec = new Codecs(btf, links).struct('endpoint');
    const row = {
      link: 'lxc7',
      identity: 1,
      id: 1,
      flags: 0,
      policyRevision: 0,
      mac: '02:00:00:00:00:01',
      hostMac: '02:00:00:00:00:02',
    };
    expect(() => encode(codec, { ...row, [field]: value })).toThrow(`field ${field}: `);
    expect(() => encode(codec, { ...row, [field]: value })).toThrow(why);
  });

  test('structs and maps that are not there are named', () => {
    expect(() => new Codecs(btf).struct('nothing')).toThrow('no struct nothing');
    expect(() => new Codecs(btf).map('nothing')).toThrow('no map nothing');
    expect(() => new Codecs(btf).offsetOf('ct_entry', 'nothing')).toThrow('no field nothing');
  });
});
