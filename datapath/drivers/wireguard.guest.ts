/** The WireGuard driver keeps the laws and its promises, on a kernel that has WireGuard: runs in a guest of the kernel lab. */
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { ifNameToIndex } from '../../native/index.ts';
import { driverLaws } from '../../reconcilers/driver-laws.ts';
import type { TableName, WireguardDeviceRow, WireguardPeerRow } from '../../state/tables.ts';
import type { Op } from '../driver.ts';
import { type TestNamespace, testNamespace } from '../testdata/namespace.ts';
import { WireguardKeys } from '../wireguard-keys.ts';
import { WireguardDriver } from './wireguard.ts';

const folders: string[] = [];
function keysOf(): WireguardKeys {
  const folder = mkdtempSync(join(tmpdir(), 'axt-wireguard-'));
  folders.push(folder);
  return new WireguardKeys(folder);
}
const forgetFolders = (): void => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
};

const peerKey = (): string => keysOf().publicKey();
const device = (publicKey: string, row: Partial<WireguardDeviceRow> = {}): WireguardDeviceRow => ({
  publicKey,
  listenPort: 51_871,
  mtu: 1420,
  fwmark: 0,
  ...row,
});
const peer = (allowedIps: string[], row: Partial<WireguardPeerRow> = {}): WireguardPeerRow => ({
  dev: 'cilium_wg0',
  node: 'other',
  endpoint: '10.9.0.2:51871',
  allowedIps,
  keepaliveSeconds: 0,
  ...row,
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

driverLaws('wireguard', () => {
  const node = testNamespace('node');
  const keys = keysOf();
  const old = keys.publicKey();
  const now = keys.rotate();
  const many = Array.from({ length: 3000 }, (_, n) => `fd00::${(n + 1).toString(16)}/128`).sort();
  return {
    driver: new WireguardDriver(keys, node.path),
    samples: [
      {
        table: 'wireguard.devices',
        key: 'cilium_wg0',
        value: device(old, { fwmark: 0xe00 }),
        changed: device(now, { listenPort: 51_872, mtu: 8920, fwmark: 0x1e00 }),
      },
      { table: 'wireguard.devices', key: 'cilium_wg1', value: device(now, { listenPort: 51_873 }) },
      {
        table: 'wireguard.peers',
        key: peerKey(),
        value: peer(['10.0.1.0/24', 'fd00:0:0:1::/64']),
        changed: peer(['10.0.1.5/32', 'fd00:0:0:1::/64'], { endpoint: '[fd09::2]:51872', keepaliveSeconds: 25 }),
      },
      { table: 'wireguard.peers', key: peerKey(), value: peer([], { endpoint: '' }), changed: peer(many) },
      { table: 'wireguard.peers', key: peerKey(), value: peer(['0.0.0.0/0', '::/0'], { dev: 'cilium_wg1' }) },
    ],
    impossible: [
      { table: 'wireguard.devices', key: 'cilium_wg2', value: device(peerKey()) },
      { table: 'wireguard.devices', key: 'cilium_wg2', value: device(now, { listenPort: 70_000 }) },
      { table: 'wireguard.devices', key: 'a-name-far-too-long', value: device(now) },
      { table: 'wireguard.peers', key: peerKey(), value: peer(['10.0.2.0/24'], { dev: 'nolink' }) },
      { table: 'wireguard.peers', key: 'not a key', value: peer([]) },
      { table: 'wireguard.peers', key: peerKey(), value: peer([], { endpoint: '10.9.0.2:99999' }) },
      { table: 'wireguard.peers', key: peerKey(), value: peer(['10.0.2.1/24']) },
    ],
    strangers: [
      {
        table: 'wireguard.devices',
        key: 'wg9',
        value: device(now, { listenPort: 51_879 }),
        make: () => void node.ip('link add wg9 type wireguard'),
        isUntouched: () => node.ip('-d link show wg9').includes('DOWN'),
      },
    ],
    identityOf: ({ table, key }) => (table === 'wireguard.devices' ? ifNameToIndex(key, node.path) : key),
    dispose: () => {
      node.dispose();
      forgetFolders();
    },
  };
});

/** Two nodes with a wire between them, and WireGuard on each. */
function pair() {
  const [a, b] = [testNamespace('a'), testNamespace('b')];
  a.ip(`link add wire type veth peer name wire netns ${b.path}`);
  const ends = [a, b].map((namespace, i) => {
    namespace.ip(`addr add 10.9.0.${i + 1}/24 dev wire`);
    namespace.ip('link set wire up');
    const keys = keysOf();
    const driver = new WireguardDriver(keys, namespace.path);
    return { namespace, keys, driver, key: keys.publicKey() };
  });
  const [near, far] = ends as [End, End];
  for (const [i, end] of ends.entries()) {
    expect(end.driver.apply([op('wireguard.devices', 'cilium_wg0', device(end.key))])).toEqual([undefined]);
    end.namespace.ip(`addr add 10.0.${i + 1}.1/32 dev cilium_wg0`);
    end.namespace.ip('route add 10.0.0.0/16 dev cilium_wg0');
  }
  return { near, far };
}
interface End {
  namespace: TestNamespace;
  keys: WireguardKeys;
  driver: WireguardDriver;
  key: string;
}
const behind = (n: number, row: Partial<WireguardPeerRow> = {}) =>
  peer([`10.0.${n}.0/24`], { endpoint: `10.9.0.${n}:51871`, ...row });
function meet(near: End, far: End): void {
  expect(near.driver.apply([op('wireguard.peers', far.key, behind(2))])).toEqual([undefined]);
  expect(far.driver.apply([op('wireguard.peers', near.key, behind(1))])).toEqual([undefined]);
}
const ping = ({ namespace }: End, count = 1, more: string[] = []) =>
  namespace.run('ping', '-c', String(count), '-W', '20', ...more, '10.0.2.1');

async function until(isSo: () => boolean): Promise<void> {
  for (const end = Date.now() + 30_000; !isSo(); ) {
    if (Date.now() > end) throw new Error('not within 30 s');
    await new Promise((done) => setTimeout(done, 20));
  }
}

describe('WireGuard between two nodes', () => {
  let ends: ReturnType<typeof pair> | undefined;
  afterEach(() => {
    ends?.near.namespace.dispose();
    ends?.far.namespace.dispose();
    forgetFolders();
  });

  test('carries packets, and no row, error or dump has the private key', () => {
    ends = pair();
    const { near, far } = ends;
    meet(near, far);
    expect(ping(near)).toContain(' 0% packet loss');
    const path = join(folders[0] as string, 'wireguard.key');
    expect(statSync(path).mode & 0o777).toBe(0o600);
    const secret = readFileSync(path, 'utf8').trim();
    const all = JSON.stringify([
      [...near.driver.dump('wireguard.devices', new Map())],
      [...near.driver.dump('wireguard.peers', new Map())],
      near.driver.apply([op('wireguard.devices', 'lo', device(near.key))]),
    ]);
    expect(all).toContain(near.key);
    expect(all).not.toContain(secret);
    expect(all).not.toContain(Buffer.from(secret, 'base64').toString('hex'));
  });

  test('a peer that moved and was heard of keeps its new endpoint, one with a wrong port gets the right one', () => {
    ends = pair();
    const { near, far } = ends;
    meet(near, far);
    const wrong = behind(2, { endpoint: '10.9.0.2:9' });
    near.driver.apply([op('wireguard.peers', far.key, wrong)]);
    const dumped = () => near.driver.dump('wireguard.peers', new Map([[far.key, behind(2)]])).get(far.key);
    expect(dumped()).toEqual(wrong);
    // The far node speaks first: its endpoint is learnt.
    far.namespace.run('ping', '-c', '1', '-W', '20', '10.0.1.1');
    expect(dumped()).toEqual(behind(2));
    expect(near.driver.dump('wireguard.peers', new Map()).get(far.key)).toMatchObject({ endpoint: '10.9.0.2:51871' });
  });

  test('allowed addresses move to another peer and back while packets flow, and none is lost', async () => {
    ends = pair();
    const { near, far } = ends;
    meet(near, far);
    ping(near);
    const flow = near.namespace.run.bind(undefined, 'sh', '-c');
    flow('ping -q -i 0.01 -c 600 10.0.2.1 >/tmp/axt-ping 2>&1 &');
    const idle = peerKey();
    let rows: [WireguardPeerRow, WireguardPeerRow] = [behind(2), behind(3)];
    near.driver.apply([op('wireguard.peers', idle, rows[1])]);
    const until = Date.now() + 4000;
    let moves = 0;
    for (; Date.now() < until; moves++) {
      // Everything around the address that packets go to comes and goes; it is only ever with its own peer.
      const odd = moves % 2 === 0;
      const next: typeof rows = [
        { ...behind(2), allowedIps: odd ? ['10.0.2.0/24', '10.0.2.1/32', '10.0.9.0/24'] : ['10.0.2.0/24'] },
        { ...behind(3), allowedIps: odd ? ['10.0.3.0/24'] : ['10.0.3.0/24', '10.0.9.0/24'] },
      ];
      const ops = [op('wireguard.peers', far.key, next[0], rows[0]), op('wireguard.peers', idle, next[1], rows[1])];
      expect(near.driver.apply(odd ? ops : ops.reverse())).toEqual([undefined, undefined]);
      rows = next;
    }
    const told = near.driver.dump(
      'wireguard.peers',
      new Map([
        [far.key, rows[0]],
        [idle, rows[1]],
      ]),
    );
    expect(told.get(far.key)).toEqual(rows[0]);
    expect(told.get(idle)).toEqual(rows[1]);
    expect(told.size, 'the peer that takes addresses away is gone').toBe(2);
    expect(moves).toBeGreaterThan(10);
    let report = '';
    for (let tries = 0; tries < 200 && !report.includes('packet loss'); tries++) {
      await new Promise((done) => setTimeout(done, 100));
      report = readFileSync('/tmp/axt-ping', 'utf8');
    }
    rmSync('/tmp/axt-ping', { force: true });
    expect(report).toMatch(/600 packets transmitted, 600 received/);
  });

  test('the key is replaced while packets flow: they wait for the new session', async () => {
    ends = pair();
    const { near, far } = ends;
    meet(near, far);
    ping(near);
    const key = near.keys.rotate();
    expect(near.driver.apply([op('wireguard.devices', 'cilium_wg0', device(key))])).toEqual([undefined]);
    const received = () => JSON.parse(near.namespace.ip('-s -j link show cilium_wg0'))[0].stats64.rx.bytes as number;
    const before = received();
    expect(far.driver.apply([op('wireguard.peers', key, behind(1))])).toEqual([undefined]);
    // Nobody has anything to say, and still there is a session: the far node has greeted the new key.
    await until(() => received() > before);
    expect(far.driver.dump('wireguard.peers', new Map()).get(key)).toMatchObject({ keepaliveSeconds: 0 });
    expect(far.driver.apply([op('wireguard.peers', near.key, undefined, behind(1))])).toEqual([undefined]);
    expect(ping(near)).toContain(' 0% packet loss');
    expect(near.driver.dump('wireguard.devices', new Map()).get('cilium_wg0')).toEqual(device(key));
  });

  test('a peer with a wrong key gets nothing', () => {
    ends = pair();
    const { near, far } = ends;
    meet(near, far);
    near.driver.apply([
      op('wireguard.peers', far.key, undefined, behind(2)),
      op('wireguard.peers', peerKey(), behind(2)),
    ]);
    expect(() => near.namespace.run('ping', '-c', '1', '-W', '2', '10.0.2.1')).toThrow();
  });
});
