/** The Node of an embedded node, as a pure function of what is known of it. */
import { availableParallelism, release, totalmem } from 'node:os';
import type { CniStatus } from '../../cluster/cni-types.ts';
import type { KubeObject } from '../../cluster/events.ts';
import { nodeName, podCidrs, zoneName } from './names.ts';
import type { NodeFacts } from './pod-worker.ts';

/** As many pods as the smaller of its pod ranges has addresses for. */
const PODS_MAX = 250;

export function nodeObject(index: number): KubeObject {
  const name = nodeName(index);
  const { ipv4, ipv6 } = podCidrs(index);
  return {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: {
      name,
      labels: {
        'kubernetes.io/hostname': name,
        'topology.kubernetes.io/zone': zoneName(index),
        'kubernetes.io/os': 'linux',
        'kubernetes.io/arch': process.arch === 'x64' ? 'amd64' : process.arch,
      },
    },
    spec: { podCIDR: ipv4, podCIDRs: [ipv4, ipv6] },
  };
}

export function nodeStatus(node: NodeFacts, cni: CniStatus, now: string): Record<string, unknown> {
  const resources = {
    cpu: String(availableParallelism()),
    memory: `${Math.floor(totalmem() / 1024)}Ki`,
    pods: String(PODS_MAX),
  };
  return {
    capacity: resources,
    allocatable: resources,
    addresses: [
      ...node.ips.map((address) => ({ type: 'InternalIP', address })),
      { type: 'Hostname', address: node.name },
    ],
    conditions: [
      {
        type: 'Ready',
        status: cni.ready ? 'True' : 'False',
        reason: cni.ready ? 'KubeletReady' : 'KubeletNotReady',
        message: cni.ready ? 'the agent is ready' : `container runtime network not ready: ${cni.reason}`,
        lastHeartbeatTime: now,
        lastTransitionTime: now,
      },
    ],
    nodeInfo: {
      kernelVersion: release(),
      osImage: 'network namespace',
      containerRuntimeVersion: 'axoneme://0.1.0',
      kubeletVersion: 'v1.33.0',
      kubeProxyVersion: '',
      operatingSystem: 'linux',
      architecture: process.arch === 'x64' ? 'amd64' : process.arch,
      machineID: '',
      systemUUID: '',
      bootID: '',
    },
  };
}
