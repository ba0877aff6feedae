/** Namespaces of a benchmark's clients, each wired to the one server's. */
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { createNetns, deleteNetns, withNetns } from '../../native/index.ts';

export interface Client {
  netns: string;
  /** Its own end, and the server as it knows it. */
  address: string;
  server: string;
}

const ip = (netns: string, command: string): unknown =>
  execFileSync('nsenter', [`--net=${netns}`, 'ip', ...command.split(' ')], { stdio: ['ignore', 'ignore', 'pipe'] });

export class Wires {
  readonly server = `/run/netns/axb-${process.pid}-server`;
  readonly #clients: string[] = [];

  constructor() {
    createNetns(this.server, { loopbackUp: true });
  }

  client(purpose: string): Client {
    const netns = `/run/netns/axb-${process.pid}-${purpose}`;
    const index = this.#clients.push(netns);
    createNetns(netns, { loopbackUp: true });
    ip(netns, `link add eth0 type veth peer name far${index}`);
    ip(netns, `link set far${index} netns ${this.server.slice('/run/netns/'.length)}`);
    ip(netns, `address add 198.18.${index}.1/24 dev eth0`);
    ip(this.server, `address add 198.18.${index}.2/24 dev far${index}`);
    ip(netns, 'link set eth0 up');
    ip(this.server, `link set far${index} up`);
    // Rules translate after a route is found.
    ip(netns, `route add default via 198.18.${index}.2`);
    // Port reuse by thousands of short connections would meet the closed ones.
    for (const path of [netns, this.server])
      withNetns(path, () => writeFileSync('/proc/sys/net/ipv4/tcp_max_tw_buckets', '0'));
    return { netns, address: `198.18.${index}.1`, server: `198.18.${index}.2` };
  }

  close(): void {
    for (const netns of [...this.#clients, this.server]) deleteNetns(netns);
  }
}
