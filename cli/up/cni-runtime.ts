/** The runtime's side of CNI: runs the plugin executable as a container runtime does, and reads what it answers. */
import { execFile } from 'node:child_process';

export interface CniRequest {
  containerId: string;
  netns: string;
  podNamespace: string;
  podName: string;
  podUid: string;
}
export interface CniIps {
  podIPs: string[];
}

export class CniFailed extends Error {
  readonly code: number;
  constructor(code: number, message: string) {
    super(message);
    this.code = code;
  }
}

const PLUGIN = new URL('../axoneme-cni', import.meta.url).pathname;
const IFNAME = 'eth0';
/** A little more than the plugin waits for the agent. */
const TIMEOUT_MS = 65_000;
/** Plugins are short processes; more at once than this only slows each other down. */
const AT_ONCE = 4;

export class CniRuntime {
  readonly #config: string;
  readonly #waiting: (() => void)[] = [];
  #running = 0;

  constructor(socket: string) {
    this.#config = JSON.stringify({ cniVersion: '1.1.0', name: 'axoneme', type: 'axoneme-cni', socket });
  }

  async add(request: CniRequest): Promise<CniIps> {
    const out = await this.#run('ADD', request);
    const { ips } = JSON.parse(out) as { ips: { address: string }[] };
    return { podIPs: ips.map(({ address }) => address.replace(/\/\d+$/, '')) };
  }

  async del(request: CniRequest): Promise<void> {
    await this.#run('DEL', request);
  }

  async #run(command: 'ADD' | 'DEL', request: CniRequest): Promise<string> {
    await this.#turn();
    try {
      return await plugin(command, request, this.#config);
    } finally {
      this.#running--;
      this.#waiting.shift()?.();
    }
  }

  async #turn(): Promise<void> {
    while (this.#running >= AT_ONCE) await new Promise<void>((done) => this.#waiting.push(done));
    this.#running++;
  }
}

function plugin(
  command: string,
  { containerId, netns, podNamespace, podName, podUid }: CniRequest,
  config: string,
): Promise<string> {
  const args = {
    IgnoreUnknown: 1,
    K8S_POD_NAMESPACE: podNamespace,
    K8S_POD_NAME: podName,
    K8S_POD_INFRA_CONTAINER_ID: containerId,
    K8S_POD_UID: podUid,
  };
  const env = {
    PATH: process.env.PATH,
    CNI_COMMAND: command,
    CNI_CONTAINERID: containerId,
    CNI_NETNS: netns,
    CNI_IFNAME: IFNAME,
    CNI_PATH: PLUGIN.slice(0, PLUGIN.lastIndexOf('/')),
    CNI_ARGS: Object.entries(args)
      .map(([key, value]) => `${key}=${value}`)
      .join(';'),
  };
  return new Promise((done, fail) => {
    const child = execFile(PLUGIN, { env, timeout: TIMEOUT_MS, encoding: 'utf8' }, (error, stdout) => {
      if (error) fail(failureOf(command, stdout, error.message));
      else done(stdout);
    });
    child.stdin?.on('error', () => {});
    child.stdin?.end(config);
  });
}

function failureOf(command: string, stdout: string, fallback: string): CniFailed {
  try {
    const { code, msg, details } = JSON.parse(stdout) as { code: number; msg: string; details: string };
    return new CniFailed(code, `CNI ${command}: ${msg}${details ? ` (${details})` : ''} [code ${code}]`);
  } catch {
    return new CniFailed(0, `CNI ${command}: ${fallback}`);
  }
}
