/** A client of the Hubble API: of one node, or of a relay. */
import { type ChannelCredentials, credentials, loadPackageDefinition } from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import type { GetAgentEventsResponse, GetFlowsRequest, GetFlowsResponse, ReadRequest } from './observer.ts';
import { PROTO_FILES, PROTO_OPTIONS } from './proto-files.ts';
import type { Namespace, NodeView, PeerChange, ServerStatus } from './source.ts';

/** PEM files; without any, no TLS. */
export interface ClientTls {
  ca?: Buffer;
  cert?: Buffer;
  key?: Buffer;
  /** Name in the server's certificate, where it is not its address. */
  serverName?: string;
}

type Stream<T> = AsyncIterable<T> & { cancel(): void };
type Answer<T> = (error: Error | null, answer: T) => void;

interface ObserverStub {
  GetFlows(request: GetFlowsRequest): Stream<GetFlowsResponse>;
  GetAgentEvents(request: ReadRequest): Stream<GetAgentEventsResponse>;
  ServerStatus(request: object, options: object, done: Answer<ServerStatus>): void;
  GetNamespaces(request: object, options: object, done: Answer<{ namespaces?: Namespace[] }>): void;
  GetNodes(request: object, options: object, done: Answer<{ nodes?: NodeView[] }>): void;
  close(): void;
}
interface PeerStub {
  Notify(request: object): Stream<PeerChange>;
  close(): void;
}
type Stub<T> = new (address: string, how: ChannelCredentials, options: object) => T;

const UNARY_TIMEOUT_MS = 5_000;
/** What is zero or empty is not on the wire. */
const ZERO: ServerStatus = { num_flows: 0, max_flows: 0, seen_flows: 0, uptime_ns: 0, version: '', flows_rate: 0 };

/** `address` as gRPC names it: `unix:///path`, `host:port`. */
export class HubbleClient {
  readonly address: string;
  readonly #timeoutMs: number;
  readonly #observer: ObserverStub;
  readonly #peer: PeerStub;

  constructor(address: string, tls: ClientTls = {}, timeoutMs = UNARY_TIMEOUT_MS) {
    const root = loadPackageDefinition(loadSync(PROTO_FILES, PROTO_OPTIONS)) as unknown as {
      observer: { Observer: Stub<ObserverStub> };
      peer: { Peer: Stub<PeerStub> };
    };
    this.address = address;
    this.#timeoutMs = timeoutMs;
    const { ca, cert, key, serverName } = tls;
    const how = ca ? credentials.createSsl(ca, key ?? null, cert ?? null) : credentials.createInsecure();
    const options = serverName ? { 'grpc.ssl_target_name_override': serverName } : {};
    this.#observer = new root.observer.Observer(address, how, options);
    this.#peer = new root.peer.Peer(address, how, options);
  }

  flows(request: GetFlowsRequest, signal?: AbortSignal): AsyncGenerator<GetFlowsResponse> {
    return this.#taken(this.#observer.GetFlows(request), signal);
  }

  /** A node's. */
  agentEvents(request: ReadRequest, signal?: AbortSignal): AsyncGenerator<GetAgentEventsResponse> {
    return this.#taken(this.#observer.GetAgentEvents(request), signal);
  }

  peers(signal: AbortSignal): AsyncGenerator<PeerChange> {
    return this.#taken(this.#peer.Notify({}), signal);
  }

  async status(): Promise<ServerStatus> {
    const answer = await this.#ask<ServerStatus>((options, done) => this.#observer.ServerStatus({}, options, done));
    return { ...ZERO, ...answer };
  }

  async namespaces(): Promise<Namespace[]> {
    type Namespaces = { namespaces?: Namespace[] };
    return (
      (await this.#ask<Namespaces>((options, done) => this.#observer.GetNamespaces({}, options, done))).namespaces ?? []
    );
  }

  async nodes(): Promise<NodeView[]> {
    type Nodes = { nodes?: NodeView[] };
    return (await this.#ask<Nodes>((options, done) => this.#observer.GetNodes({}, options, done))).nodes ?? [];
  }

  close(): void {
    this.#observer.close();
    this.#peer.close();
  }

  async *#taken<T>(call: Stream<T>, signal?: AbortSignal): AsyncGenerator<T> {
    const cancel = (): void => call.cancel();
    signal?.addEventListener('abort', cancel, { once: true });
    try {
      yield* call;
    } catch (error) {
      if (!signal?.aborted) throw this.#failure(error);
    } finally {
      signal?.removeEventListener('abort', cancel);
      call.cancel();
    }
  }

  #ask<T>(call: (options: { deadline: number }, done: Answer<T>) => void): Promise<T> {
    return new Promise((resolve, reject) => {
      call({ deadline: Date.now() + this.#timeoutMs }, (error, answer) =>
        error ? reject(this.#failure(error)) : resolve(answer),
      );
    });
  }

  #failure(error: unknown): Error {
    const { details = String(error) } = error as { details?: string };
    // gRPC's own words around the one that says why.
    const [, why] =
      /^No connection established\. Last error: (?:Error: )?(.*?)\.? Resolution note:/s.exec(details) ??
      /^(Deadline exceeded after [0-9.]+s),/.exec(details) ??
      [];
    return new Error(`${this.address}: ${why ?? details}`);
  }
}
