/** One embedded node: its namespace on the underlay, its Node object, its agent under supervision, its kubelet. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { AgentConfig } from '../agent-config.ts';
import { healthDefaults } from '../network-config.ts';
import { createNodeCgroup } from './cgroups.ts';
import { createNode, NODE_DEVICE } from './fabric.ts';
import { Kubelet } from './kubelet.ts';
import { logFile } from './log-file.ts';
import { healthNetns, netnsPath, nodeAddress, nodeName, nodeNetns, POD_RANGE, pinDirOf } from './names.ts';
import { merged, networkOf } from './network.ts';
import { nodeObject } from './node-object.ts';
import type { Objects } from './objects.ts';
import type { ClusterNode } from './registry.ts';
import { type Supervisor, supervise } from './supervisor.ts';

export interface NodeOptions {
  cluster: string;
  slot: number;
  index: number;
  /** Of the cluster. */
  stateDir: string;
  kubeconfig: string;
  /** Directory for the agent's recording; empty: none. */
  record: string;
  agentConfig: Readonly<Record<string, unknown>>;
  objects: Objects;
  log(line: string): void;
}

export interface EmbeddedNode extends ClusterNode {
  /** Resolves when the node is Ready. */
  start(): Promise<void>;
  stop(): Promise<void>;
}

const AXONEME = new URL('../axoneme', import.meta.url).pathname;

export async function embedNode(options: NodeOptions): Promise<EmbeddedNode> {
  const { cluster, slot, index, objects, log } = options;
  const name = nodeName(index);
  const netns = nodeNetns(cluster, name);
  const stateDir = join(options.stateDir, 'nodes', name);
  const cniSocket = join(stateDir, 'cni.sock');
  const debugSocket = join(stateDir, 'debug.sock');
  const { ipv4, ipv6 } = nodeAddress(slot, index);
  mkdirSync(stateDir, { recursive: true, mode: 0o700 });
  await createNode(cluster, slot, index, networkOf(options.agentConfig).knowsPods);
  const cgroup = createNodeCgroup(cluster, name);
  objects.create('nodes', nodeObject(index));

  const config: Partial<Omit<AgentConfig, 'services'>> & { services: Partial<AgentConfig['services']> } = {
    nodeName: name,
    clusterName: cluster,
    kubeconfig: options.kubeconfig,
    stateDir,
    pinRoot: join(pinDirOf(cluster), name),
    cniSocket,
    debugSocket,
    devices: [NODE_DEVICE],
    ipv4NativeRoutingCIDR: POD_RANGE.ipv4,
    ipv6NativeRoutingCIDR: POD_RANGE.ipv6,
    services: cgroup ? { cgroupRoot: cgroup } : { mode: 'partial', socketLB: false },
    health: { ...healthDefaults, netns: netnsPath(healthNetns(cluster, name)) },
    ...(options.record && { record: join(options.record, name) }),
  };
  const configFile = join(stateDir, 'agent.json');
  writeFileSync(configFile, JSON.stringify(merged({ ...config }, options.agentConfig), null, 2), { mode: 0o600 });

  const facts = {
    cluster,
    name,
    netns,
    cgroup,
    ips: [ipv4, ipv6],
    stateDir: options.stateDir,
    kubeconfig: options.kubeconfig,
  };
  const kubelet = new Kubelet({ node: facts, cniSocket, objects });
  let agent: Supervisor | undefined;
  return {
    name,
    netns,
    debugSocket,
    start() {
      const keep = logFile(join(stateDir, 'agent.log'));
      const say = (line: string): void => {
        keep(line);
        log(line);
      };
      const argv = [AXONEME, 'agent', '--config', configFile];
      agent = supervise({ netns: netnsPath(netns), cgroup, argv, log: say });
      return kubelet.start();
    },
    async stop() {
      await kubelet.stop();
      await agent?.stop();
    },
  };
}
