/** The IPsec driver keeps the laws and its promises, on a kernel that has IPsec: runs in a guest of the kernel lab. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { afterEach, describe, expect, test } from 'vitest';
import { driverLaws } from '../../reconcilers/driver-laws.ts';
import {
  type TableName,
  type XfrmPolicyRow,
  type XfrmStateRow,
  xfrmPolicyKey,
  xfrmStateKey,
} from '../../state/tables.ts';
import type { Op } from '../driver.ts';
import { Keyring } from '../keyring.ts';
import { type TestNamespace, testNamespace } from '../testdata/namespace.ts';
import { XfrmDriver } from './xfrm.ts';

const hex = (seed: number): string =>
  Buffer.from(Array.from({ length: 20 }, (_, i) => (seed * 37 + i * 11) & 0xff)).toString('hex');
const secret = (id: number, seed = id): string => `${id} rfc4106(gcm(aes)) ${hex(seed)} 128`;
function ringOf(...lines: string[]) {
  const keyring = new Keyring();
  const keys = lines.flatMap((line) => keyring.load(line));
  return { keyring, fingerprints: keys.map(({ fingerprint }) => fingerprint) };
}

const state = (row: Partial<XfrmStateRow> & { fingerprint: string }): XfrmStateRow => ({
  direction: 'out',
  src: '10.9.0.1',
  dst: '10.9.0.2',
  spi: 3,
  reqid: 120,
  mode: 'tunnel',
  mark: 0,
  markMask: 0,
  outputMark: 0,
  outputMarkMask: 0,
  ...row,
});
const policy = (row: Partial<XfrmPolicyRow>): XfrmPolicyRow => ({
  direction: 'out',
  src: '0.0.0.0/0',
  dst: '10.0.2.0/24',
  mark: 0,
  markMask: 0,
  action: 'allow',
  templateSrc: '10.9.0.1',
  templateDst: '10.9.0.2',
  spi: 3,
  reqid: 120,
  optional: false,
  ...row,
});
const sampleState = (row: XfrmStateRow, changed?: Partial<XfrmStateRow>) => ({
  table: 'xfrm.states' as const,
  key: xfrmStateKey(row),
  value: row,
  ...(changed && { changed: { ...row, ...changed } }),
});
const samplePolicy = (row: XfrmPolicyRow, changed?: Partial<XfrmPolicyRow>) => ({
  table: 'xfrm.policies' as const,
  key: xfrmPolicyKey(row),
  value: row,
  ...(changed && { changed: { ...row, ...changed } }),
});
const op = (table: TableName, key: string, value: unknown, before?: unknown): Op => ({
  table,
  action: value === undefined ? 'delete' : 'put',
  key,
  value,
  before,
  revision: 1,
  owners: [],
});
const putState = (row: XfrmStateRow, before?: XfrmStateRow): Op => op('xfrm.states', xfrmStateKey(row), row, before);
const putPolicy = (row: XfrmPolicyRow): Op => op('xfrm.policies', xfrmPolicyKey(row), row);

driverLaws('xfrm', () => {
  const node = testNamespace('node');
  const { keyring, fingerprints } = ringOf(secret(3), secret(3, 99), secret(4), secret(9));
  const [three = '', other = '', four = '', nine = ''] = fingerprints;
  const marks = { mark: 0xabcd3e00, markMask: 0xffffff00, outputMark: 0xe00, outputMarkMask: 0xf00 };
  const block: Partial<XfrmPolicyRow> = { action: 'block', templateSrc: '', templateDst: '', spi: 0, reqid: 0 };
  const foreign = 'proto esp spi 0x9 reqid 9 mode tunnel aead rfc4106(gcm(aes))';
  return {
    driver: new XfrmDriver(keyring, node.path),
    samples: [
      sampleState(state({ ...marks, fingerprint: three }), { fingerprint: other, outputMark: 0xc00 }),
      sampleState(state({ fingerprint: four, spi: 4 }), { mode: 'transport' }),
      sampleState(state({ fingerprint: three, src: 'fd09::2', dst: 'fd09::1', mark: 0xd00, markMask: 0xf00 })),
      samplePolicy(policy({ mark: 0xabcd3e00, markMask: 0xffffff00 }), { spi: 4 }),
      samplePolicy(policy({ dst: 'fd00::/64', src: '::/0' }), { templateSrc: 'fd09::1', templateDst: 'fd09::2' }),
      samplePolicy(policy({ direction: 'in', templateSrc: '', templateDst: '', spi: 0, optional: true })),
      samplePolicy(policy({ dst: '10.0.0.0/16', ...block })),
      samplePolicy(
        policy({ direction: 'fwd', dst: '::/0', src: '::/0', templateSrc: '', templateDst: '', optional: true }),
      ),
    ],
    impossible: [
      sampleState(state({ fingerprint: 'another', spi: 3, dst: '10.9.0.9' })),
      sampleState(state({ fingerprint: three, spi: 7 })),
      sampleState(state({ fingerprint: three, dst: '10.9.0.300' })),
      sampleState(state({ fingerprint: three, dst: '10.9.0.8', reqid: 1 })),
      samplePolicy(policy({ dst: '10.0.2.1/24' })),
      samplePolicy(policy({ dst: 'fd00::/64' })),
      samplePolicy(policy({ dst: '10.0.9.0/24', mark: 0xe00, markMask: 0x100 })),
      sampleState(state({ fingerprint: three, dst: '10.9.0.8', mark: 0xe00, markMask: 0x100 })),
      samplePolicy(policy({ dst: '10.0.9.0/24', reqid: 1 })),
    ],
    strangers: [
      {
        ...sampleState(state({ fingerprint: nine, spi: 9 })),
        make: () => void node.ip(`xfrm state add src 10.9.0.1 dst 10.9.0.2 ${foreign} 0x${hex(5)} 128`),
        isUntouched: () => node.ip('xfrm state').includes('reqid 9'),
      },
    ],
    dispose: () => node.dispose(),
  };
});

/** Two nodes with a wire between them, a pod range behind each. */
function pair() {
  const [a, b] = [testNamespace('a'), testNamespace('b')];
  a.ip(`link add wire type veth peer name wire netns ${b.path}`);
  const [near, far] = [a, b].map((namespace, i) => {
    namespace.ip(`addr add 10.9.0.${i + 1}/24 dev wire`);
    namespace.ip('link set wire up');
    namespace.ip(`addr add 10.0.${i + 1}.1/32 dev lo`);
    const ring = ringOf(secret(3));
    return { namespace, n: i + 1, driver: new XfrmDriver(ring.keyring, namespace.path), ...ring };
  }) as [End, End];
  near.namespace.ip('route add 10.0.2.0/24 via 10.9.0.2 src 10.0.1.1');
  far.namespace.ip('route add 10.0.1.0/24 via 10.9.0.1 src 10.0.2.1');
  return { near, far };
}
interface End {
  namespace: TestNamespace;
  n: number;
  driver: XfrmDriver;
  keyring: Keyring;
  fingerprints: string[];
}
const nodeOf = (n: number): string => `10.9.0.${n}`;
const both = (n: number, spi: number, fingerprint: string): XfrmStateRow[] => [
  state({ src: nodeOf(n), dst: nodeOf(3 - n), spi, fingerprint }),
  state({ direction: 'in', src: nodeOf(3 - n), dst: nodeOf(n), spi, fingerprint }),
];
const outPolicy = (n: number, spi: number): XfrmPolicyRow =>
  policy({ dst: `10.0.${3 - n}.0/24`, templateSrc: nodeOf(n), templateDst: nodeOf(3 - n), spi });
function encrypt({ driver, n, fingerprints: [fingerprint = ''] }: End): void {
  const inward = policy({ direction: 'in', dst: `10.0.${n}.0/24`, templateSrc: '', templateDst: '', spi: 0 });
  const ops = [...both(n, 3, fingerprint).map((row) => putState(row))];
  expect(driver.apply(ops)).toEqual([undefined, undefined]);
  expect(driver.apply([putPolicy(inward), putPolicy(outPolicy(n, 3))])).toEqual([undefined, undefined]);
}
const ping = ({ namespace, n }: End, count: number, interval = '0.02'): Promise<string> => {
  const args = [`--net=${namespace.path}`, 'ping', '-q', '-c', String(count), '-i', interval, '-W', '20'];
  const child = spawn('nsenter', [...args, `10.0.${3 - n}.1`], { stdio: ['ignore', 'pipe', 'inherit'] });
  let text = '';
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk;
  });
  return once(child, 'close').then(() => text);
};

describe('IPsec between two nodes', () => {
  let ends: ReturnType<typeof pair> | undefined;
  afterEach(() => {
    ends?.near.namespace.dispose();
    ends?.far.namespace.dispose();
  });

  test('what is between the pod ranges is ESP, and no row, error or dump has a key', async () => {
    ends = pair();
    const { near, far } = ends;
    for (const end of [near, far]) encrypt(end);
    expect(await ping(near, 3)).toContain(' 0% packet loss');
    const counts = near.namespace.ip('-s xfrm state');
    expect(counts).toMatch(/lifetime current:\s+\d+\(bytes\), 3\(packets\)/);
    const all = JSON.stringify([
      [...near.driver.dump('xfrm.states', new Map())],
      near.driver.apply([putState(state({ fingerprint: 'none' }))]),
    ]);
    const derived = near.keyring.derive('10.9.0.1', '10.9.0.2', 3, near.fingerprints[0] as string)?.key;
    expect(near.namespace.ip('xfrm state')).toContain(derived?.toString('hex'));
    expect(all).not.toContain(derived?.toString('hex'));
    expect(all).not.toContain(hex(3));
    expect(near.keyring.derive('10.9.0.2', '10.9.0.1', 3, near.fingerprints[0] as string)?.key).not.toEqual(derived);
  });

  test('keys are rotated while packets flow, and none is lost', async () => {
    ends = pair();
    const { near, far } = ends;
    for (const end of [near, far]) encrypt(end);
    const flow = ping(near, 400);
    let old = { spi: 3, fingerprint: near.fingerprints[0] as string };
    for (let spi = 4; spi <= 8; spi++) {
      const [{ fingerprint } = { fingerprint: '' }] = near.keyring.load(secret(spi));
      far.keyring.load(secret(spi));
      // Both accept the new key; each sends with it; both forget the old one.
      for (const end of [near, far]) {
        expect(end.driver.apply(both(end.n, spi, fingerprint).map((row) => putState(row)))).toEqual([
          undefined,
          undefined,
        ]);
      }
      for (const end of [far, near]) {
        expect(end.driver.apply([putPolicy(outPolicy(end.n, spi))])).toEqual([undefined]);
        await new Promise((done) => setTimeout(done, 200));
      }
      for (const end of [near, far]) {
        const gone = both(end.n, old.spi, old.fingerprint);
        end.driver.apply(gone.map((row) => op('xfrm.states', xfrmStateKey(row), undefined, row)));
      }
      old = { spi, fingerprint };
    }
    expect([...near.driver.dump('xfrm.states', new Map()).keys()].sort()).toEqual([
      '10.9.0.1>10.9.0.2/8',
      '10.9.0.2>10.9.0.1/8',
    ]);
    expect(await flow).toMatch(/400 packets transmitted, 400 received/);
  });

  test('a driver that has not read the Secret believes rows, removes nothing and makes nothing', () => {
    ends = pair();
    const { near } = ends;
    encrypt(near);
    const rows = new Map(both(1, 3, near.fingerprints[0] as string).map((row) => [xfrmStateKey(row), row]));
    const started = new XfrmDriver(new Keyring(), near.namespace.path);
    expect(started.dump('xfrm.states', rows)).toEqual(rows);
    const [failed] = started.apply([putState(rows.values().next().value as XfrmStateRow)]);
    expect(failed).toMatchObject({ errno: 'ENOKEY', retryable: true });
    expect(near.driver.dump('xfrm.states', rows)).toEqual(rows);
  });

  test('with another key nothing gets through, and nothing is sent in clear', async () => {
    ends = pair();
    const { near, far } = ends;
    for (const end of [near, far]) encrypt(end);
    const [{ fingerprint } = { fingerprint: '' }] = near.keyring.load(secret(3, 77));
    for (const row of both(1, 3, near.fingerprints[0] as string)) {
      expect(near.driver.apply([putState({ ...row, fingerprint }, row)])).toEqual([undefined]);
    }
    near.namespace.run('sh', '-c', 'ping -c 1 -W 2 10.0.2.1 || true');
    expect(far.namespace.run('cat', '/proc/net/xfrm_stat')).toMatch(/XfrmInStateProtoError\s+1/);
    // A key that is gone while it is in use.
    for (const row of near.driver.dump('xfrm.states', new Map()).values()) {
      near.driver.apply([op('xfrm.states', xfrmStateKey(row as XfrmStateRow), undefined, row)]);
    }
    near.namespace.run('sh', '-c', 'ping -c 1 -W 2 10.0.2.1 || true');
    expect(near.namespace.run('cat', '/proc/net/xfrm_stat')).toMatch(/XfrmOutNoStates\s+[1-9]/);
    expect(far.namespace.run('cat', '/proc/net/xfrm_stat')).toMatch(/XfrmInNoPols\s+0/);
  });
});
