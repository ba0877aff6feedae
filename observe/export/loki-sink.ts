/** Grafana Loki's push API: one stream for each node, verdict and direction, the flow as JSON for its line. */
import type { Flow } from '../hubble/types.ts';
import { nanosOf } from '../hubble/types.ts';
import { lineOf } from './file-sink.ts';
import { type HttpOptions, post } from './http.ts';
import type { Sink } from './sink.ts';

interface LokiStream {
  stream: Record<string, string>;
  /** Nanoseconds and line. */
  values: [string, string][];
}

export class LokiSink implements Sink {
  readonly #options: HttpOptions;

  /** `url` is the whole one, such as `http://loki:3100/loki/api/v1/push`. */
  constructor(options: HttpOptions) {
    this.#options = options;
  }

  async send(batch: readonly Flow[]): Promise<void> {
    const streams = new Map<string, LokiStream>();
    for (const flow of batch) {
      const stream = {
        job: 'axoneme',
        node: flow.node_name,
        verdict: flow.verdict,
        direction: flow.traffic_direction,
      };
      const key = JSON.stringify(stream);
      const known: LokiStream = streams.get(key) ?? { stream, values: [] };
      streams.set(key, known);
      known.values.push([String(nanosOf(flow.time)), JSON.stringify(lineOf(flow))]);
    }
    await post(this.#options, JSON.stringify({ streams: [...streams.values()] }), 'application/json');
  }

  async close(): Promise<void> {}
}
