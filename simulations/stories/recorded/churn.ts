/** Changes of services, policies and pods of a cluster, one after another, faster than anybody makes them by hand. */
import type { KubeObject } from '../../../cluster/events.ts';
import type { EmbeddedCluster } from '../embedded.ts';
import { RawApi } from '../raw-api.ts';

const SERVICES = 25;
const ENDPOINTS = 6;
const NAMESPACE = 'demo';
export const POLICY = 'lockdown';

const meta = (name: string, labels: Record<string, string> = {}): KubeObject['metadata'] => ({
  name,
  namespace: NAMESPACE,
  labels,
});

/** Nobody may reach `web`. */
export const lockdown = policy(POLICY, { app: 'web' });

function policy(name: string, labels: Record<string, string>): KubeObject {
  return {
    ...{ apiVersion: 'networking.k8s.io/v1', kind: 'NetworkPolicy', metadata: meta(name) },
    spec: { podSelector: { matchLabels: labels }, policyTypes: ['Ingress'], ingress: [] },
  };
}

export class Churn {
  readonly api: RawApi;
  #turn = 0;
  readonly #pods = new Set<string>();
  readonly #policies = new Set<string>();

  constructor(cluster: EmbeddedCluster) {
    this.api = new RawApi(cluster);
  }

  close(): void {
    this.api.close();
  }

  async setUp(): Promise<void> {
    for (let number = 0; number < SERVICES; number++) {
      await this.api.create(service(number));
      await this.api.create(slice(number, 0));
    }
  }

  async turns(count: number): Promise<void> {
    for (let i = 0; i < count; i++) await this.#one(++this.#turn);
  }

  async #one(turn: number): Promise<void> {
    await this.api.replace(slice(turn % SERVICES, turn));
    if (turn % 40 === 7) await this.#toggle(this.#policies, policy(`other-${turn % 3}`, { app: `other-${turn % 3}` }));
    if (turn % 50 === 9) {
      await this.api.remove(service(turn % SERVICES));
      await this.api.create(service(turn % SERVICES));
    }
    if (turn % 60 === 11) await this.#toggle(this.#pods, pod(`other-${turn % 3}`));
  }

  /** What is on its way out still bears its name; another turn tries again. */
  async #toggle(there: Set<string>, object: KubeObject): Promise<void> {
    const { name } = object.metadata;
    try {
      if (there.has(name)) await this.api.remove(object);
      else await this.api.create(object);
    } catch (error) {
      if (!/already exists|AlreadyExists|not found|NotFound/.test(String(error))) throw error;
    }
    if (!there.delete(name)) there.add(name);
  }
}

function service(number: number): KubeObject {
  return {
    ...{ apiVersion: 'v1', kind: 'Service', metadata: meta(`shop-${number}`) },
    spec: { ports: [{ name: 'http', port: 80, targetPort: 8080, protocol: 'TCP' }] },
  };
}

function slice(number: number, turn: number): KubeObject {
  const endpoints = Array.from({ length: ENDPOINTS }, (_, i) => ({
    addresses: [`10.77.${number}.${1 + ((turn + i) % 200)}`],
    conditions: { ready: i > 0 || turn % 2 === 0 },
    nodeName: 'node-7',
  }));
  return {
    ...{ apiVersion: 'discovery.k8s.io/v1', kind: 'EndpointSlice' },
    metadata: meta(`shop-${number}-a`, { 'kubernetes.io/service-name': `shop-${number}` }),
    ...{ addressType: 'IPv4', ports: [{ name: 'http', port: 8080, protocol: 'TCP' }], endpoints },
  };
}

function pod(name: string): KubeObject {
  return {
    ...{ apiVersion: 'v1', kind: 'Pod', metadata: meta(name, { app: name }) },
    spec: { containers: [{ name: 'server', image: 'built-in', ports: [{ containerPort: 8080 }] }] },
  };
}
