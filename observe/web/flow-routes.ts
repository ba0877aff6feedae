/**
 * Flows and the service map for the page, of one node's ring.
 *
 * - A reader gets at most FLOWS_PER_SECOND; how many more there were is said in a line of its own.
 * - The map is kept only while somebody looks at it, and begins with what the ring holds.
 */
import { Observable, type Subscription } from 'rxjs';
import { isFollow, json, Refusal, type Route } from '../debug/http.ts';
import type { HubbleView } from '../debug/sources.ts';
import type { FlowFilter } from '../hubble/filter.ts';
import type { GetFlowsRequest, GetFlowsResponse } from '../hubble/observer.ts';
import type { Flow } from '../hubble/types.ts';
import { ServiceMap } from './service-map.ts';

/** Reads filter words, as `axoneme observe` does; throws with what is wrong with them. */
export interface FilterWords {
  readonly flags: readonly string[];
  parse(args: readonly string[]): { whitelist: FlowFilter[]; blacklist: FlowFilter[]; rest: string[] };
}

/** One of them. */
export interface FlowLine {
  flow?: Partial<Flow>;
  /** Flows that the ring lost before they could be read. */
  lost?: number;
  /** Flows that this reader was spared. */
  dropped?: number;
}

const FLOWS_PER_SECOND = 250;
const LAST = 200;
const LAST_MAX = 2_000;
/** Nobody looks any more. */
const FORSAKEN_MS = 120_000;
const SWITCHES = new Set(['ipv4', 'ipv6', 'is-reply', 'encrypted', 'unencrypted', 'not']);

/** What flows are asked of. */
export interface FlowSource {
  hubble?: Pick<HubbleView, 'flows' | 'words' | 'ring' | 'flows$'> | undefined;
}

export function flowRoutes({ hubble }: FlowSource, now: () => number): Route[] {
  const keeper = hubble?.flows$ && new MapKeeper(hubble, now);
  return [
    {
      pattern: '/v1/flows',
      doc: '?q=FILTER WORDS of observe, ?last=N, ?follow: flows, also as server-sent events',
      answer({ params }) {
        const { flows, words } = needed(hubble);
        const request = requestOf(params, words);
        if (!isFollow(params)) return collected(flows(request.request, new AbortController().signal), request.wants);
        return { kind: 'stream', lines: paced(flows, { ...request.request, follow: true }, request.wants) };
      },
    },
    {
      pattern: '/v1/service-map',
      doc: 'who talks to whom: workloads, and edges by protocol, port and verdict',
      answer() {
        needed(hubble);
        return json(keeper?.view());
      },
    },
  ];
}

type Feed = Required<Pick<HubbleView, 'flows' | 'words'>>;

function needed(hubble: FlowSource['hubble']): Feed {
  const { flows, words } = hubble ?? {};
  if (!flows || !words) throw new Refusal(404, 'there are no flows here: this is a replay', 'a running agent');
  return { flows, words };
}

async function collected(
  answers: AsyncIterable<GetFlowsResponse>,
  wants: (flow: Flow) => boolean,
): Promise<ReturnType<typeof json>> {
  const lines: FlowLine[] = [];
  for await (const answer of answers) {
    const line = lineOf(answer, wants);
    if (line) lines.push(line);
  }
  return json(lines);
}

function lineOf({ flow, lost_events }: GetFlowsResponse, wants: (flow: Flow) => boolean): FlowLine | undefined {
  if (lost_events) return { lost: lost_events.num_events_lost };
  return flow && wants(flow as Flow) ? { flow } : undefined;
}

function requestOf(
  params: URLSearchParams,
  words: FilterWords,
): { request: GetFlowsRequest; wants: (flow: Flow) => boolean } {
  const last = Number(params.get('last') ?? LAST);
  if (!Number.isInteger(last) || last < 1 || last > LAST_MAX)
    throw new Refusal(400, `parameter last is ${JSON.stringify(params.get('last'))}`, `1 to ${LAST_MAX}`);
  const { args, texts } = wordsOf(params.get('q') ?? '', words.flags);
  try {
    const { whitelist, blacklist, rest } = words.parse(args);
    if (rest.length > 0)
      throw new Refusal(400, `unknown filter ${rest[0]}`, `one of ${words.flags.join(', ')}, or words to look for`);
    const request = { whitelist, blacklist, number: last };
    return { request, wants: texts.length > 0 ? (flow) => isAbout(flow, texts) : () => true };
  } catch (error) {
    if (error instanceof Refusal) throw error;
    throw new Refusal(400, error instanceof Error ? error.message : String(error), 'filter words as observe takes');
  }
}

/** Flags may do without their dashes; what is none is text to look for. Quotes hold words together. */
export function wordsOf(text: string, flags: readonly string[]): { args: string[]; texts: string[] } {
  const tokens = [...text.matchAll(/(?:[^\s"']|"[^"]*"|'[^']*')+/g)].map(([token]) => token.replaceAll(/["']/g, ''));
  const args: string[] = [];
  const texts: string[] = [];
  for (let at = 0; at < tokens.length; at++) {
    const token = tokens[at] ?? '';
    const name = token.replace(/^--?/, '').replace(/=.*$/s, '');
    if (!token.startsWith('-') && !flags.includes(name)) {
      texts.push(token.toLowerCase());
      continue;
    }
    args.push(token.startsWith('-') ? token : `--${token}`);
    const takesValue = !token.includes('=') && !SWITCHES.has(name);
    if (takesValue && at + 1 < tokens.length) args.push(tokens[++at] ?? '');
  }
  return { args, texts };
}

function isAbout({ source, destination, IP, Summary, drop_reason_desc, node_name }: Flow, texts: string[]): boolean {
  const ends = [source, destination].flatMap(({ namespace, pod_name, labels }) => [
    `${namespace}/${pod_name}`,
    ...labels,
  ]);
  const all = [...ends, IP?.source, IP?.destination, Summary, drop_reason_desc, node_name].join(' ').toLowerCase();
  return texts.every((text) => all.includes(text));
}

/** Follows at the pace that a browser can take. */
function paced(flows: Feed['flows'], request: GetFlowsRequest, wants: (flow: Flow) => boolean): Observable<FlowLine> {
  return new Observable((reader) => {
    const ending = new AbortController();
    let left = FLOWS_PER_SECOND + LAST_MAX;
    let dropped = 0;
    const refill = setInterval(() => {
      left = FLOWS_PER_SECOND;
      if (dropped > 0) reader.next({ dropped });
      dropped = 0;
    }, 1_000);
    const follow = async (): Promise<void> => {
      for await (const answer of flows(request, ending.signal)) {
        const line = lineOf(answer, wants);
        if (!line) continue;
        if (line.flow && left-- <= 0) dropped++;
        else reader.next(line);
      }
    };
    follow().then(
      () => reader.complete(),
      (error) => reader.error(error),
    );
    return () => {
      clearInterval(refill);
      ending.abort();
    };
  });
}

type MapFeed = Pick<HubbleView, 'ring' | 'flows$'>;

class MapKeeper {
  readonly #hubble: MapFeed;
  readonly #now: () => number;
  #map: ServiceMap | undefined;
  #subscription: Subscription | undefined;
  #forsaken: NodeJS.Timeout | undefined;

  constructor(hubble: MapFeed, now: () => number) {
    this.#hubble = hubble;
    this.#now = now;
  }

  view(): unknown {
    const map = this.#map ?? this.#begin();
    clearTimeout(this.#forsaken);
    this.#forsaken = setTimeout(() => this.#end(), FORSAKEN_MS).unref();
    return map.view(this.#now());
  }

  #begin(): ServiceMap {
    const map = new ServiceMap();
    const { ring, flows$ } = this.#hubble;
    if (ring)
      for (let at = ring.oldest; at < ring.next; at++) {
        const flow = ring.get(at);
        if (flow) map.add(flow);
      }
    this.#subscription = flows$?.subscribe((flow) => map.add(flow));
    this.#map = map;
    return map;
  }

  #end(): void {
    this.#subscription?.unsubscribe();
    this.#map = undefined;
  }
}
