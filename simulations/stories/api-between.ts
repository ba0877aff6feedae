/**
 * Stands between the agents of an embedded cluster and its API server, and answers or holds back what a story says.
 *
 * - It listens in the network namespace that joins the nodes. Agents go through it from their next start on.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { request } from 'node:https';
import { KubeConfig } from '@kubernetes/client-node';
import { listenTcp } from '../../native/index.ts';
import { type EmbeddedCluster, until } from './embedded.ts';
import { fabricOf } from './many-nodes/country.ts';

const PORT = 6444;
const PATIENCE_MS = 30_000;

interface Answer {
  status: number;
  body: object;
}
/** Undefined: the API server answers. */
export type Judge = (method: string, url: URL) => Promise<Answer | undefined> | Answer | undefined;

export class ApiBetween {
  judge: Judge = () => undefined;
  readonly #cluster: EmbeddedCluster;
  readonly #server: Server;
  readonly #kubeconfig: string;
  readonly #before: string;

  private constructor(cluster: EmbeddedCluster) {
    this.#cluster = cluster;
    this.#kubeconfig = `/run/axoneme/${cluster.name}/agent.kubeconfig`;
    this.#before = readFileSync(this.#kubeconfig, 'utf8');
    const config = new KubeConfig();
    config.loadFromFile(cluster.ready.kubeconfig);
    const { server = '', caData = '' } = config.getCurrentCluster() ?? {};
    const ca = Buffer.from(caData, 'base64');
    this.#server = createServer((asked, answer) => {
      void this.#serve(new URL(asked.url ?? '/', server), ca, asked, answer);
    });
  }

  static async of(cluster: EmbeddedCluster): Promise<ApiBetween> {
    const between = new ApiBetween(cluster);
    const fd = listenTcp({ netns: fabricOf(cluster.name), address: '::', port: PORT });
    await new Promise<void>((done) => between.#server.listen({ fd }, done));
    const unsafe = between.#before.replace(/certificate-authority-data: \S+/, 'insecure-skip-tls-verify: true');
    await between.#point(unsafe.replace(/https:\/\/([\d.]+):\d+/, `http://$1:${PORT}`));
    return between;
  }

  /** Agents speak to the API server again. */
  async close(): Promise<void> {
    await this.#point(this.#before);
    this.#server.closeAllConnections();
    await new Promise((done) => this.#server.close(done));
  }

  async #point(kubeconfig: string): Promise<void> {
    writeFileSync(this.#kubeconfig, kubeconfig);
    const killed = this.#cluster.agentPids();
    for (const pid of killed) process.kill(pid, 'SIGKILL');
    await until('agents that go this way', PATIENCE_MS, async () => {
      const now = this.#cluster.agentPids();
      if (now.length < killed.length || now.some((pid) => killed.includes(pid))) return undefined;
      const policy = await this.#cluster.debug<{ known: boolean }>('/v1/policy').catch(() => undefined);
      return policy?.known || undefined;
    });
  }

  async #serve(url: URL, ca: Buffer, asked: IncomingMessage, answer: ServerResponse): Promise<void> {
    const said = await this.judge(asked.method ?? '', url);
    if (said) {
      answer.writeHead(said.status, { 'content-type': 'application/json' });
      answer.end(JSON.stringify(said.body));
      return;
    }
    const headers = { ...asked.headers, host: url.host };
    const on = request(url, { method: asked.method, headers, ca }, (back) => {
      answer.writeHead(back.statusCode ?? 502, back.headers);
      back.on('error', () => answer.destroy());
      back.pipe(answer);
    });
    on.on('error', () => answer.destroy());
    answer.on('close', () => on.destroy());
    asked.pipe(on);
  }
}
