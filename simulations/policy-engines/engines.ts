/** The two engines of `policy verdict`: the packet model's policy maps, and the programs of this machine's kernel. */
import { HOST_ENDPOINT } from '../../machines/policy-context.ts';
import { protocolNumbers } from '../../policy/rule.ts';
import { policyEntryKey } from '../../state/tables.ts';
import { lookup } from '../packet-model/policy.ts';
import { ModelTables } from '../packet-model/tables.ts';
import type { Side } from '../policy-oracle/flow.ts';
import type { Engine, SideQuestion } from './answer.ts';
import { Programs } from './programs.ts';
import type { NodeView } from './view.ts';

export class ModelEngine implements Engine {
  #tables = new ModelTables();
  readonly #loaded = new Set<number>();

  async load(): Promise<void> {
    this.#tables = new ModelTables();
    this.#loaded.clear();
  }

  decide({ view, endpointId, direction, peer, protocol, port }: SideQuestion): { side: Side; cookie: number } {
    this.#fill(view, endpointId);
    const question = {
      endpoint: endpointId,
      direction,
      identity: view.identityOf(peer),
      proto: protocolNumbers[protocol],
      port,
    };
    const { reason, entry } = lookup(this.#tables, question, endpointId !== HOST_ENDPOINT);
    return { side: reason === undefined ? 'allowed' : 'denied', cookie: entry?.cookie ?? 0 };
  }

  #fill(view: NodeView, endpointId: number): void {
    if (this.#loaded.has(endpointId)) return;
    this.#loaded.add(endpointId);
    this.#tables.put({ table: 'bpf.policy-maps', key: String(endpointId), value: { entriesMax: 16_384 } });
    for (const { direction, identity, protocol, port, deny, precedence, cookie, origins } of view.entriesOf(
      endpointId,
    )) {
      const key = policyEntryKey(endpointId, direction, identity, protocol, port);
      this.#tables.put({ table: 'bpf.policy', key, value: { deny, precedence, cookie, origins } });
    }
  }
}

/** Policies of the node itself are judged by the model: they are enforced at its devices, which a test run does not pass. */
export class ProgramEngine implements Engine {
  readonly #programs: Programs;
  readonly #model = new ModelEngine();

  constructor(name: string) {
    this.#programs = new Programs(name);
  }

  close(): void {
    this.#programs.close();
  }

  async load(view: NodeView, ends: Parameters<Engine['load']>[1]): Promise<void> {
    await this.#model.load();
    await this.#programs.load(view.rows(ends));
  }

  decide(question: SideQuestion): { side: Side; cookie: number } {
    const { view, endpointId, direction, subject, peer, protocol, port, family } = question;
    if (endpointId === HOST_ENDPOINT) return this.#model.decide(question);
    const [own, other] = [view.addressOf(subject, family), view.addressOf(peer, family)];
    if (own === undefined || other === undefined) throw new Error(`no addresses of IPv${family} at both ends`);
    const [from, to] = direction === 'egress' ? [own, other] : [other, own];
    const isFromHost = direction === 'ingress' && view.identityOf(peer) === 1;
    return this.#programs.ask({ direction, endpointId, from, to, proto: protocolNumbers[protocol], port, isFromHost });
  }
}
