/** The agent's configuration: what is not understood is refused, with field, value and what was expected. */
import { describe, expect, test } from 'vitest';
import { cgroup2Mount } from '../datapath/cgroup2.ts';
import { parseAgentConfig } from './agent-config.ts';
import { networkFacts } from './network-config.ts';
import { policyDefaults, serviceFacts, servicesDefaults } from './services-config.ts';

const parse = (fields: object) => parseAgentConfig({ nodeName: 'node-1', ...fields }, 'agent.json');

describe('sections of the configuration', () => {
  test('fields that are left out are as by default', () => {
    const { services, policy } = parse({
      services: { mode: 'partial', maglevTableSize: 251 },
      policy: { audit: true },
    });
    expect(services).toEqual({ ...servicesDefaults, mode: 'partial', maglevTableSize: 251 });
    expect(policy).toEqual({ ...policyDefaults, audit: true });
  });

  test.each([
    [{ services: { mode: 'yes' } }, 'field services.mode is "yes", expected strict | partial | off'],
    [{ services: { maglevTableSize: 16_384 } }, 'field services.maglevTableSize is 16384, expected 251 | 509'],
    [{ services: { socketLB: 'on' } }, 'field services.socketLB is "on", expected boolean'],
    [
      { services: { kubeProxyReplacement: true } },
      'unknown field services.kubeProxyReplacement; known are mode, socketLB',
    ],
    [
      { services: { nodePortAddresses: ['192.0.2.0/24', '192.0.2.1'] } },
      'field services.nodePortAddresses has "192.0.2.1", expected CIDRs or "primary"',
    ],
    [{ services: { loadBalancerClasses: [7] } }, 'field services.loadBalancerClasses has 7, expected names of classes'],
    [{ services: [] }, 'field services is [], expected object'],
    [{ services: null }, 'field services is null, expected object'],
    [{ policy: { enforcement: true } }, 'field policy.enforcement is true, expected string'],
    [{ routing: { mode: 'ipip' } }, 'field routing.mode is "ipip", expected native | vxlan | geneve'],
    [{ routing: { mode: 'vxlan', tunnelPort: 70_000 } }, 'field routing.tunnelPort is 70000, expected a port, or 0'],
    [
      { routing: { mode: 'vxlan', autoDirectNodeRoutes: true } },
      'field routing.autoDirectNodeRoutes is true, expected false with routing.mode vxlan',
    ],
    [{ encryption: { type: 'tls' } }, 'field encryption.type is "tls", expected none | wireguard | ipsec'],
    [{ encryption: { strict: true } }, 'field encryption.strict is true, expected false with encryption.type none'],
    [
      { encryption: { type: 'ipsec', nodeEncryption: true } },
      'field encryption.nodeEncryption is true, expected false with encryption.type ipsec',
    ],
    [{ encryption: { ipsecSecret: 'keys' } }, 'field encryption.ipsecSecret is "keys", expected NAMESPACE/NAME'],
    [{ encryption: { wireguardPort: 0 } }, 'field encryption.wireguardPort is 0, expected a port'],
    [{ health: { intervalMs: 5 } }, 'field health.intervalMs is 5, expected milliseconds from 100'],
    [{ health: { port: 1.5 } }, 'field health.port is 1.5, expected a port'],
    [{ mtu: '1500' }, 'field mtu is "1500", expected number'],
    [
      { monitor: { aggregation: 'high' } },
      'field monitor.aggregation is "high", expected none | low | medium | maximum | off',
    ],
    [{ monitor: { intervalS: 0 } }, 'field monitor.intervalS is 0, expected seconds from 1 to 32767'],
    [{ monitor: { intervalS: 70_000 } }, 'field monitor.intervalS is 70000, expected seconds from 1 to 32767'],
    [{ monitor: { flags: ['syn', 'SIN'] } }, 'field monitor.flags has "SIN", expected some of fin, syn, rst, psh, ack'],
    [{ monitor: { flags: 'syn' } }, 'field monitor.flags is "syn", expected array'],
  ])('%j is refused', (fields, message) => {
    expect(() => parse(fields)).toThrow(`agent config agent.json: ${message}`);
  });
});

describe('what machines know of how nodes are reached', () => {
  test('the tunnel has its usual port unless told', () => {
    const portOf = (routing: object) => networkFacts(parse({ routing })).routing.tunnelPort;
    expect([portOf({}), portOf({ mode: 'vxlan' }), portOf({ mode: 'geneve' })]).toEqual([0, 8472, 6081]);
    expect(portOf({ mode: 'vxlan', tunnelPort: 4789 })).toBe(4789);
  });

  test('where keys come from is not for machines', () => {
    expect(networkFacts(parse({ encryption: { type: 'ipsec' } })).encryption).toEqual({
      type: 'ipsec',
      strict: false,
      nodeEncryption: false,
      wireguardPort: 51_871,
      rotationGraceMs: 300_000,
    });
  });
});

describe('what a mode means', () => {
  const asked = { ...servicesDefaults, socketLB: false, nodePort: true, externalIPs: false, hostPort: false };

  test('partial does what was asked for, strict everything, off nothing', () => {
    const parts = (mode: 'strict' | 'partial' | 'off') => {
      const { socketLB, nodePort, externalIPs, hostPort } = serviceFacts({ ...asked, mode }, []);
      return [socketLB, nodePort, externalIPs, hostPort];
    };
    expect(parts('strict')).toEqual([true, true, true, true]);
    expect(parts('partial')).toEqual([false, true, false, false]);
    expect(parts('off')).toEqual([false, false, false, false]);
  });

  test('hooks of sockets are wanted where sockets are to be translated', () => {
    const hooks = (mode: 'strict' | 'partial') => serviceFacts({ ...asked, mode }, ['connect4']).sockHooks;
    expect([hooks('strict'), hooks('partial')]).toEqual([['connect4'], []]);
  });

  test('the cgroup is that of the configuration, or where version 2 is mounted', () => {
    const mounts = 'tmpfs /sys/fs/cgroup tmpfs rw 0 0\ncgroup2 /sys/fs/cgroup/uni\\040fied cgroup2 rw 0 0\n';
    expect(cgroup2Mount(mounts)).toBe('/sys/fs/cgroup/uni fied');
    expect(cgroup2Mount('proc /proc proc rw 0 0\n')).toBeUndefined();
    expect(serviceFacts({ ...asked, cgroupRoot: '/x' }, []).cgroupRoot).toBe('/x');
  });
});
