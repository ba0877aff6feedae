/** `policy verdict`: what becomes of flows in a cluster that exists only as manifests. */
import { readFileSync } from 'node:fs';
import { type Flow, judge, NoSuchEnd, type Verdict } from '../../simulations/policy-oracle/oracle.ts';
import { print, printJson } from '../output/print.ts';
import { type Cell, formatTable } from '../output/table.ts';
import { UsageError } from '../usage.ts';
import { parseFlows } from './flows.ts';
import { readPolicyManifests } from './manifests.ts';

export interface VerdictOptions {
  manifests: string;
  flows: string;
  engine: 'model' | 'bpf';
  enforcement: 'default' | 'always' | 'never';
  isJson: boolean;
}

/** A flow that cannot be asked about is denied, and the exit code says that there is one. */
interface Answer extends Verdict {
  error?: string;
}

export async function runVerdict(options: VerdictOptions): Promise<number> {
  const { objects, notes } = readPolicyManifests(options.manifests);
  const flows = parseFlows(readFlows(options.flows), options.flows);
  for (const note of notes) say(note);
  const cluster = { objects, clusterName: 'default', enforcement: options.enforcement, hostFirewall: true };
  const answers = flows.map((flow): Answer => {
    try {
      return judge(cluster, flow);
    } catch (error) {
      if (error instanceof NoSuchEnd) return unanswered(flow, error.message);
      throw error;
    }
  });
  for (const { id, error } of answers) if (error !== undefined) say(`flow ${id}: ${error}`);
  if (options.isJson) printJson(answers);
  else print(tableOf(flows, answers));
  return answers.some(({ error }) => error !== undefined) ? 1 : 0;
}

function readFlows(path: string): string {
  try {
    return readFileSync(path === '-' ? 0 : path, 'utf8');
  } catch (error) {
    throw new UsageError(`flows ${path}: ${error instanceof Error ? error.message : error}`);
  }
}

const say = (text: string): boolean => process.stderr.write(`axoneme policy: ${text}\n`);

const unanswered = ({ id }: Flow, error: string): Answer => ({
  id,
  verdict: 'denied',
  ingress: 'not-enforced',
  egress: 'not-enforced',
  matchedBy: [],
  error,
});

function tableOf(flows: readonly Flow[], answers: readonly Answer[]): string {
  const end = (one: Flow['from']): string => ('pod' in one ? one.pod : 'ip' in one ? one.ip : one.entity);
  const rows = answers.map(({ id, verdict, egress, ingress, matchedBy }, i): Cell[] => {
    const { from, to, port, protocol } = flows[i] as Flow;
    return [id, end(from), end(to), `${port}/${protocol}`, egress, ingress, verdict, matchedBy];
  });
  return formatTable(['ID', 'FROM', 'TO', 'PORT', 'EGRESS', 'INGRESS', 'VERDICT', 'POLICIES'], rows);
}
