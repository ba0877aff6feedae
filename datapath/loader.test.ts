/** Loading: what is pinned is used again, what differs is said, and nothing that is attached is let go. */
import { existsSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { createMap, openPinnedMap } from '../native/index.ts';
import { Codecs, encode } from './codec.ts';
import { probeFeatures } from './features.ts';
import { type Loaded, loadDatapath, programsFolder } from './loader.ts';
import type { DatapathConfig } from './runtime-config.ts';
import { sockPart } from './sock-part.ts';
import { type TestPins, testPins } from './testdata/pins.ts';
import { smallObject } from './testdata/small-object.ts';

const HZ = 250;
const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0).reverse()) cleanup();
});

function pinned(): TestPins {
  const pins = testPins();
  cleanups.push(pins.dispose);
  return pins;
}

function load(config: DatapathConfig, object = smallObject()): Loaded {
  const loaded = loadDatapath(config, HZ, object);
  cleanups.push(() => loaded.close());
  return loaded;
}

const programIds = ({ programs }: Loaded): Record<string, number> =>
  Object.fromEntries([...programs].map(([name, program]) => [name, program.info.id]));

function putPrefix(loaded: Loaded, cidr: string, identity: number): void {
  const { key, value } = new Codecs(loaded.btf).map('ipcache');
  loaded.maps
    .get('ipcache')
    ?.put(encode(key, cidr), encode(value, { identity, tunnelEndpoint: '', encryptKey: 0, flags: 0 }));
}

function prefixes(loaded: Loaded): unknown[] {
  const { key } = new Codecs(loaded.btf).map('ipcache');
  return (loaded.maps.get('ipcache')?.keys() ?? []).map((bytes) => key.read(bytes, 0)).sort();
}

describe('loading', () => {
  test('a restart finds the same programs and the same entries', () => {
    const { config } = pinned();
    const first = load(config);
    putPrefix(first, '10.0.0.0/8', 7);
    const second = load(config);
    expect(second.runtime.build).toBe(first.runtime.build);
    expect(programIds(second)).toEqual(programIds(first));
    expect(prefixes(second)).toEqual(['10.0.0.0/8']);
    expect(second.notices).toEqual([]);
  });

  test('another object or another configuration is another build, on the same maps', () => {
    const { config } = pinned();
    const first = load(config);
    putPrefix(first, '10.0.0.0/8', 7);
    const builds = [first.runtime.build];
    for (const [changed, object] of [
      [config, smallObject('VARIANT=1')],
      [{ ...config, ipv4NativeRoutingCIDR: '10.0.0.0/8' }, smallObject()],
      [{ ...config, monitor: { aggregation: 'none' as const } }, smallObject()],
    ] as const) {
      const next = load(changed, object);
      builds.push(next.runtime.build);
      expect(next.maps.get('ipcache')?.info.id).toBe(first.maps.get('ipcache')?.info.id);
      expect(next.notices).toEqual([]);
    }
    expect(new Set(builds).size).toBe(4);
  });

  test('a second object works on the same maps, is of the same build, and is found again by a restart', () => {
    const { config } = pinned();
    const open = (...hooks: string[]): Loaded => {
      const part = sockPart(hooks, probeFeatures(), undefined);
      const loaded = loadDatapath(config, HZ, undefined, [part]);
      cleanups.push(() => loaded.close());
      return loaded;
    };
    const first = open('connect4', 'connect6');
    expect([...first.programs.keys()]).toEqual(
      expect.arrayContaining(['from_endpoint', 'sock_connect4', 'sock_connect6']),
    );
    expect(first.programs.get('sock_connect4')?.info.mapIds).toContain(first.maps.get('frontends')?.info.id);
    expect(programIds(open('connect4', 'connect6'))).toEqual(programIds(first));
  });

  test('the programs see the configuration', () => {
    const { config } = pinned();
    const { runtime } = load({
      ...config,
      ipv6: false,
      ipv4NativeRoutingCIDR: '10.0.0.0/8',
      timeoutsS: { tcpEstablished: 100 },
      natPorts: { min: 40_000, max: 50_000 },
    });
    expect(runtime.values).toMatchObject({
      hz: HZ,
      ipv4: 1,
      ipv6: 0,
      masqueradeIpv4: 1,
      masqueradeIpv6: 0,
      nativeRoutingIpv4: '10.0.0.0/8',
      nativeRoutingIpv6: '',
      timeoutTcpEstablished: 100,
      // As compiled.
      timeoutTcpSyn: 60,
      natPortMin: 40_000,
      natPortMax: 50_000,
      allowLocalhost: 1,
    });
  });

  test('a map of another capacity keeps its entries', () => {
    const { config } = pinned();
    const first = load(config);
    putPrefix(first, '10.0.0.0/8', 7);
    putPrefix(first, 'fd00::/64', 8);
    const inner = createMap({
      type: 'lpm_trie',
      name: 'policy_7',
      keySize: 12,
      valueSize: 12,
      maxEntries: 16_384,
      flags: 1,
    });
    cleanups.push(() => inner.close());
    first.maps.get('policy')?.put(Buffer.from([7, 0, 0, 0]), inner);
    const grown = load({ ...config, maps: { ipcache: 100, policy: 8, conntrack: 1000 } });
    expect(grown.notices).toEqual([
      'map ipcache changes its capacity from 512000 to 100',
      'map policy changes its capacity from 65536 to 8',
      'map conntrack changes its capacity from 262144 to 1000',
    ]);
    expect(grown.maps.get('ipcache')?.info.maxEntries).toBe(100);
    expect(prefixes(grown)).toEqual(['10.0.0.0/8', 'fd00::/64']);
    const kept = grown.maps.get('policy')?.getInner(Buffer.from([7, 0, 0, 0]));
    expect(kept?.info.id).toBe(inner.info.id);
    kept?.close();
    expect(load({ ...config, maps: { ipcache: 100, policy: 8, conntrack: 1000 } }).notices).toEqual([]);
  });

  test('another build takes policies whose maps have another size than the one that it would make', () => {
    const { config } = pinned();
    const first = load(config);
    const inner = createMap({
      type: 'lpm_trie',
      name: 'policy_7',
      keySize: 12,
      valueSize: 12,
      maxEntries: 99,
      flags: 1,
    });
    cleanups.push(() => inner.close());
    first.maps.get('policy')?.put(Buffer.from([7, 0, 0, 0]), inner);
    const second = load({ ...config, monitor: { aggregation: 'none' as const } });
    expect(second.runtime.build).not.toBe(first.runtime.build);
    expect(second.maps.get('policy')?.info.id).toBe(first.maps.get('policy')?.info.id);
    const kept = second.maps.get('policy')?.getInner(Buffer.from([7, 0, 0, 0]));
    expect(kept?.info.id).toBe(inner.info.id);
    kept?.close();
  });

  test('a capacity below what a map of ours holds is refused, and the map stays', () => {
    const { config } = pinned();
    const first = load(config);
    for (let i = 0; i < 5; i++) putPrefix(first, `10.${i}.0.0/16`, i);
    expect(() => load({ ...config, maps: { ipcache: 4 } })).toThrow('from 512000 to 4, but holds 5 entries');
    expect(prefixes(load(config)).length).toBe(5);
  });

  test('another layout of what programs learn: entries come along, and it is said', () => {
    const { config } = pinned();
    const first = load(config);
    const codec = new Codecs(first.btf).map('conntrack');
    const key = { a: '10.0.0.1', b: '10.0.0.2', portA: 80, portB: 4000, proto: 6 };
    const entry = {
      ...{ expires: 99, flags: 6, tcpFlags: [2, 18], srcIdentity: 5, dstIdentity: 6, policyRevision: [1, 2] },
      ...{ lastReport: [7, 8], created: 3, backendId: 12, revNat: 9, proxyPort: 0 },
    };
    first.maps.get('conntrack')?.put(encode(codec.key, key), encode(codec.value, entry));
    const other = smallObject('LAYOUT');
    const second = load(config, other);
    expect(second.notices).toEqual([
      expect.stringMatching(
        /^map conntrack pinned at .* has another layout: value rev_nat is gone; value rev_nat_renamed is new; 1 entries were translated in \d+ ms$/,
      ),
    ]);
    const next = new Codecs(second.btf).map('conntrack');
    const [[, value] = []] = second.maps.get('conntrack')?.entries() ?? [];
    const { revNat, ...rest } = entry;
    expect(revNat).toBe(9);
    expect(next.value.read(value ?? Buffer.alloc(0), 0)).toEqual({ ...rest, revNatRenamed: 0 });
    expect(load(config, other).notices).toEqual([]);
  });

  test('what programs of before learn until they are replaced comes after', () => {
    const { config } = pinned();
    const first = load(config);
    const second = load(config, smallObject('LAYOUT'));
    const codec = new Codecs(first.btf).map('conntrack');
    const key = encode<unknown>(codec.key, { a: '10.0.0.1', b: '10.0.0.2', portA: 80, portB: 4000, proto: 6 });
    // The handle is of the map that programs of the first load have.
    const value = Buffer.alloc(40);
    value.writeUInt32LE(99, 0);
    first.maps.get('conntrack')?.put(key, value);
    expect(second.handOver()).toBe(1);
    expect(second.handOver()).toBe(0);
    expect(second.maps.get('conntrack')?.get(key)?.readUInt32LE(0)).toBe(99);
    const pins = () => readdirSync(join(config.pinRoot, 'maps')).filter((pin) => pin.includes('-old-'));
    expect(pins()).toEqual(['conntrack-old-1']);
    rmSync(join(programsFolder(config.pinRoot), first.runtime.build), { recursive: true });
    second.handOver();
    expect(pins()).toEqual([]);
  });

  test('another layout of a map of ours: its rows come along', () => {
    const { config } = pinned();
    putPrefix(load(config), '10.0.0.0/8', 7);
    const second = load(config, smallObject('AGENT_LAYOUT'));
    expect(second.notices).toEqual([expect.stringContaining('map ipcache'), expect.stringContaining('map nodes')]);
    expect(prefixes(second)).toEqual(['10.0.0.0/8']);
    // And back again, as after a downgrade.
    expect(prefixes(load(config))).toEqual(['10.0.0.0/8']);
  });

  test('a pin that somebody replaced by something else is named with its differences', () => {
    const { config } = pinned();
    load(config);
    const path = join(config.pinRoot, 'maps/endpoints');
    rmSync(path);
    const other = createMap({ type: 'array', name: 'other', keySize: 4, valueSize: 8, maxEntries: 1 });
    other.pin(path);
    other.close();
    expect(() => load(config)).toThrow(
      'type is array, wanted hash; keySize is 4, wanted 16; valueSize is 8, wanted 32',
    );
  });

  test('programs whose maps are gone are loaded anew, and the attached ones read as another build', () => {
    const { config } = pinned();
    const first = load(config);
    rmSync(join(config.pinRoot, 'maps/endpoints'));
    const second = load(config);
    expect(second.runtime.build).toBe(first.runtime.build);
    expect(Object.values(programIds(second))).not.toContain(programIds(first)['from_endpoint']);
    expect(readdirSync(programsFolder(config.pinRoot)).sort()).toEqual([
      first.runtime.build,
      `${first.runtime.build}-stale`,
    ]);
  });

  test('a replacement that was cut short leaves the old map, and is done again', () => {
    const { config } = pinned();
    const first = load(config);
    putPrefix(first, '10.0.0.0/8', 7);
    const next = openPinnedMap(join(config.pinRoot, 'maps/nat'));
    next.pin(join(config.pinRoot, 'maps/ipcache-next'));
    next.close();
    renameSync(
      join(programsFolder(config.pinRoot), first.runtime.build),
      join(programsFolder(config.pinRoot), 'cut-next'),
    );
    const second = load({ ...config, maps: { ipcache: 50 } });
    expect(prefixes(second)).toEqual(['10.0.0.0/8']);
    expect(existsSync(join(config.pinRoot, 'maps/ipcache-next'))).toBe(false);
  });

  test.each([
    [{ pinRoot: '/sys/fs/bpf/a.b' }, 'names on a bpffs have no dots'],
    [{ pinRoot: '/tmp/pins' }, 'expected a path below /sys/fs/bpf'],
    [{ maps: { nothing: 5 } }, 'there is no map nothing; known are affinity'],
    [{ maps: { conntrack: 0 } }, 'conntrack is 0, expected a number of entries'],
    [{ maps: { metrics: 5 } }, 'there is no map metrics'],
    [{ ipv4NativeRoutingCIDR: 'fd00::/8' }, 'config ipv4NativeRoutingCIDR is "fd00::/8": expected an IPv4 prefix'],
    [
      { ipv6NativeRoutingCIDR: 'fd00::1/8' },
      'config ipv6NativeRoutingCIDR is "fd00::1/8": CIDR fd00::1/8 has host bits',
    ],
    [{ natPorts: { min: 2, max: 1 } }, 'natPorts: min 2 is above max 1'],
  ])('configuration %j is refused', (change, message) => {
    const { config } = pinned();
    expect(() => load({ ...config, ...change })).toThrow(message);
  });
});
