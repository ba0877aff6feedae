/** What a node does of services: all or nothing in strict mode, what it can in partial, and it says which. */
import { describe, expect, test } from 'vitest';
import { cgroup2Mount } from '../../datapath/cgroup2.ts';
import { type FeatureName, type Features, probeFeatures } from '../../datapath/features.ts';
import { sockHooks } from '../../datapath/sock-hooks.ts';
import { servicesDefaults } from '../services-config.ts';
import { nodeServices } from './services.ts';

const cgroupRoot = cgroup2Mount() ?? '';
const config = (fields: object) => ({ ...servicesDefaults, cgroupRoot, ...fields });

function without(...names: FeatureName[]): Features {
  const features = probeFeatures();
  const has = { ...features.has, ...Object.fromEntries(names.map((name) => [name, false])) };
  const missing = names.map((name) => `cgroup hook ${name} (Linux 5.8): getpeername shows the backend`);
  return { ...features, has, missing };
}

describe('strict', () => {
  test('does everything where there is everything', () => {
    const { facts, notices } = nodeServices(config({ mode: 'strict', socketLB: false }), probeFeatures());
    expect(facts).toMatchObject({ mode: 'strict', socketLB: true, nodePort: true, sockHooks, cgroupRoot });
    expect(notices).toEqual([]);
  });

  test('names the missing hook and the kernel that has it, and does not start', () => {
    const start = () => nodeServices(config({ mode: 'strict' }), without('getpeername4'));
    expect(start).toThrow(
      /^services.mode is strict: cgroup hook getpeername4 needs Linux 5.8, this is \d.*; services.mode partial/,
    );
  });

  test('does not start without the cgroup', () => {
    const start = () => nodeServices(config({ mode: 'strict', cgroupRoot: '/proc' }), probeFeatures());
    expect(start).toThrow(
      'services.mode is strict: services.cgroupRoot /proc is no directory of cgroup v2; services.mode',
    );
  });
});

describe('partial', () => {
  test('does what was asked for, and says what is off', () => {
    const asked = { mode: 'partial', socketLB: true, nodePort: false, externalIPs: true, hostPort: false };
    const { facts, notices } = nodeServices(config(asked), probeFeatures());
    expect(facts).toMatchObject({ socketLB: true, nodePort: false, externalIPs: true, hostPort: false, sockHooks });
    expect(notices).toEqual(['services.mode is partial: nodePort, hostPort off']);
  });

  test('does without hooks that are missing, and says what that means', () => {
    const { facts, notices } = nodeServices(config({ mode: 'partial' }), without('getpeername4'));
    expect(facts.sockHooks).toEqual(sockHooks.filter((hook) => hook !== 'getpeername4'));
    expect(notices).toEqual(['cgroup hook getpeername4 (Linux 5.8): getpeername shows the backend']);
  });

  test('leaves sockets alone without the cgroup', () => {
    const { facts, notices } = nodeServices(config({ mode: 'partial', cgroupRoot: '/nowhere' }), probeFeatures());
    expect(facts).toMatchObject({ socketLB: false, sockHooks: [], nodePort: true });
    expect(notices).toEqual(['socketLB off: services.cgroupRoot /nowhere is no directory of cgroup v2']);
  });
});

test('off: nothing, and nothing to say', () => {
  const { facts, notices } = nodeServices(config({ mode: 'off', cgroupRoot: '/nowhere' }), probeFeatures());
  expect(facts).toMatchObject({ socketLB: false, nodePort: false, externalIPs: false, hostPort: false, sockHooks: [] });
  expect(notices).toEqual([]);
});
