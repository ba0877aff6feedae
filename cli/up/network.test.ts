/** How flags and configuration say what network an embedded cluster has, and the faults of its underlay. */
import { describe, expect, test } from 'vitest';
import { UsageError } from '../usage.ts';
import { faultsText, parseFaults } from './faults.ts';
import { healthOf, merged, networkOf } from './network.ts';

describe('network', () => {
  test('sections of configurations are joined, and the later field wins', () => {
    const flags = { routing: { mode: 'vxlan' }, mtu: 0 };
    expect(merged(flags, { routing: { underlay: 'ipv6' }, mtu: 1400, devices: ['eth1'] })).toEqual({
      routing: { mode: 'vxlan', underlay: 'ipv6' },
      mtu: 1400,
      devices: ['eth1'],
    });
  });
  test.each([
    [{}, { routing: 'native', encryption: 'none', knowsPods: true }],
    [{ routing: { mode: 'vxlan' } }, { routing: 'vxlan', encryption: 'none', knowsPods: false }],
    [{ routing: { autoDirectNodeRoutes: true } }, { routing: 'native', encryption: 'none', knowsPods: false }],
    [{ encryption: { type: 'wireguard' } }, { routing: 'native', encryption: 'wireguard', knowsPods: true }],
  ])('%j: the fabric knows pods only where they are routed natively and no node does it', (config, network) => {
    expect(networkOf(config)).toEqual(network);
  });
  test('a node alone probes nobody, and many probe less often', () => {
    expect(healthOf(1)).toMatchObject({ enabled: false });
    expect(healthOf(2)).toEqual({ enabled: true, intervalMs: 2_000 });
    expect(healthOf(100)).toEqual({ enabled: true, intervalMs: 50_000 });
  });
});

describe('faults', () => {
  test.each([
    ['loss=1%', { lossPercent: 1 }],
    ['loss=0.5%,delay=5ms', { lossPercent: 0.5, delayMs: 5 }],
    ['delay=250us,jitter=50us', { delayMs: 0.25, jitterMs: 0.05 }],
    ['none', {}],
  ])('%s', (text, faults) => {
    expect(parseFaults(text)).toEqual(faults);
    expect(parseFaults(faultsText(faults) || 'none')).toEqual(faults);
  });
  test.each([
    '',
    'loss=1',
    'loss=101%',
    'delay=5',
    'delay=5%',
    'jitter=1ms',
    'delay=2000s',
    'duplicate=1%',
    'loss=1%,',
  ])('%j is refused with what was expected', (text) => {
    expect(() => parseFaults(text)).toThrow(UsageError);
    expect(() => parseFaults(text)).toThrow(/expected loss=PERCENT%/);
  });
});
