/** Messages of IPsec and WireGuard: the sizes of the C structs, what is encoded is decoded, and what is decoded has no private key. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { formatEndpoint, parseEndpoint } from '../drivers/wireguard-endpoint.ts';
import { wireguardKeyMessage, wireguardMessage } from './wireguard.ts';
import {
  decodePolicy,
  decodeState,
  listAll,
  newPolicy,
  newState,
  policyId,
  stateId,
  type XfrmPolicy,
  type XfrmState,
  xfrmTypes,
} from './xfrm.ts';

const HEADER_BYTES = 16;
const marks = fc.record({ value: fc.nat(0xffffffff), mask: fc.nat(0xffffffff) });
const ends = fc.constantFrom(['192.0.2.1', '192.0.2.2'], ['2001:db8::1', '2001:db8::2']);
const states = fc
  .record({
    ends,
    spi: fc.integer({ min: 1, max: 15 }),
    reqid: fc.nat(0xffffffff),
    mode: fc.constantFrom('tunnel', 'transport'),
    mark: marks,
    outputMark: marks,
    key: fc.uint8Array({ minLength: 20, maxLength: 20 }),
  })
  .map(({ ends: [src = '', dst = ''], key, ...state }): XfrmState => {
    const aead = { algorithm: 'rfc4106(gcm(aes))', key: Buffer.from(key), icvBits: 128 };
    return { ...state, src, dst, aead };
  });
const policies = fc
  .record({
    cidrs: fc.constantFrom(['10.0.1.0/24', '0.0.0.0/0'], ['fd00:1::/64', '::/0']),
    direction: fc.constantFrom('in', 'out', 'fwd'),
    mark: marks,
    priority: fc.nat(0xffffffff),
    action: fc.constantFrom('allow', 'block'),
    template: fc.option(
      fc
        .record({ ends, reqid: fc.nat(0xffffffff), spi: fc.nat(0xffffffff), optional: fc.boolean() })
        .map(({ ends: [src, dst], ...template }) => ({ ...template, src, dst, mode: 'tunnel' as const })),
      { nil: undefined },
    ),
  })
  .map(({ cidrs: [src = '', dst = ''], ...policy }): XfrmPolicy => ({ ...policy, src, dst }));

test('IPsec associations are decoded as they were encoded', () => {
  fc.assert(
    fc.property(states, (state) => {
      const bytes = newState(state);
      expect(bytes.readUInt32LE(0)).toBe(bytes.length);
      expect(decodeState(bytes)).toEqual({ ...state, proto: 50, sent: 0 });
    }),
  );
});

test('IPsec policies are decoded as they were encoded', () => {
  fc.assert(
    fc.property(policies, (policy) => {
      expect(decodePolicy(newPolicy(policy))).toEqual(policy);
    }),
  );
});

test('structs have the sizes of linux/xfrm.h', () => {
  const none = { value: 0, mask: 0 };
  const range = { direction: 'in', src: '0.0.0.0/0', dst: '10.0.0.0/8', mark: none } as const;
  const sizes = [
    stateId(xfrmTypes.deleteState, { dst: '192.0.2.1', spi: 1, mark: none }),
    policyId(xfrmTypes.deletePolicy, range),
    newPolicy({ ...range, priority: 1, action: 'block', template: undefined }),
    listAll(xfrmTypes.getState),
  ].map((message) => message.length - HEADER_BYTES);
  expect(sizes).toEqual([24, 64, 168, 0]);
  const aead = { algorithm: 'x', key: Buffer.alloc(20), icvBits: 128 };
  const state = newState({ ...stateOf('192.0.2.1', '192.0.2.2'), aead });
  // Behind the struct is the attribute of the key alone: its header, struct xfrm_algo_aead, the key.
  expect(state.length - HEADER_BYTES).toBe(224 + 4 + 72 + 20);
});

const stateOf = (src: string, dst: string): Omit<XfrmState, 'aead'> => ({
  ...{ src, dst, spi: 1, reqid: 1, mode: 'tunnel' },
  ...{ mark: { value: 0, mask: 0 }, outputMark: { value: 0, mask: 0 } },
});

test('WireGuard peers are decoded as they were encoded, a private key never', () => {
  const privateKey = Buffer.alloc(32, 0x5a);
  const device = { name: 'wg0', privateKey, listenPort: 51_871 };
  const bytes = wireguardKeyMessage.encode(30, 0, { command: 1, version: 1, attributes: device });
  expect(bytes.includes(privateKey)).toBe(true);
  expect(wireguardMessage.decode(bytes).attributes).toEqual({ name: 'wg0', listenPort: 51_871 });
  const allowedIps = [
    { family: 2, address: '10.0.1.0', prefixLength: 24 },
    { family: 10, address: 'fd00::', prefixLength: 64 },
  ];
  const peers = [{ publicKey: Buffer.alloc(32, 1), endpoint: parseEndpoint('[fd00::2]:51871'), allowedIps }];
  const attributes = { name: 'wg0', peers };
  const message = wireguardMessage.encode(30, 0, { command: 1, version: 1, attributes });
  expect(wireguardMessage.decode(message).attributes).toEqual(attributes);
});

test.each(['192.0.2.1:51871', '[2001:db8::1]:1', '[::1]:65535'])('%s is an endpoint', (text) => {
  expect(formatEndpoint(parseEndpoint(text))).toBe(text);
});

test.each([
  '192.0.2.1',
  '192.0.2.1:0',
  '192.0.2.1:65536',
  '2001:db8::1:51871',
  '[192.0.2.1]:51871',
  '192.0.2.300:1',
  '',
])('%j is none', (text) => {
  expect(() => parseEndpoint(text)).toThrow(TypeError);
});
