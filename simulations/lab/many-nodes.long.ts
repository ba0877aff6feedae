/** The whole story of three nodes on this machine's own kernel, for each way of routing that it has. */
import { describe } from 'vitest';
import { manyNodes } from '../stories/many-nodes/story.ts';

const KILLS = 20;

describe('native, over a network that knows where pods are', () => {
  manyNodes('native', { onTheWire: 'clear', kills: KILLS, timeoutMs: 300_000 });
});

describe('native, by routes of the nodes themselves', () => {
  const agentConfig = { routing: { autoDirectNodeRoutes: true } };
  manyNodes('direct', { agentConfig, onTheWire: 'clear', kills: 1 });
});

describe('VXLAN over IPv4', () => {
  manyNodes('vxlan', { flags: ['--routing', 'vxlan'], onTheWire: 'vxlan', kills: KILLS, timeoutMs: 300_000 });
});

describe('VXLAN over IPv6', () => {
  const agentConfig = { routing: { underlay: 'ipv6' } };
  manyNodes('vxlan6', {
    flags: ['--routing', 'vxlan'],
    agentConfig,
    onTheWire: 'vxlan',
    farByPodsOnly: true,
    kills: 1,
  });
});

describe('VXLAN over a network that loses a packet in fifty', () => {
  const flags = ['--routing', 'vxlan', '--underlay', 'loss=2%'];
  manyNodes('lossy', { flags, onTheWire: 'vxlan', kills: 1, brief: true });
});
