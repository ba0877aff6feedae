/** OpenTelemetry: each flow as a log record over OTLP/HTTP, made and sent by OpenTelemetry's own SDK. */
import { type LogRecord, SeverityNumber } from '@opentelemetry/api-logs';
import { OTLPLogExporter } from '@opentelemetry/exporter-logs-otlp-http';
import { resourceFromAttributes } from '@opentelemetry/resources';
import { LoggerProvider, type LogRecordProcessor, type ReadableLogRecord } from '@opentelemetry/sdk-logs';
import { summaryOf } from '../hubble/summary.ts';
import type { Flow } from '../hubble/types.ts';
import { lineOf } from './file-sink.ts';
import { type HttpOptions, headersOf } from './http.ts';
import type { Sink } from './sink.ts';

/** As the SDK's export result says it. */
const SUCCESS = 0;

/** Gathers what the logger makes: queueing and trying again is the exporter's. */
class Collector implements LogRecordProcessor {
  #records: ReadableLogRecord[] = [];
  onEmit(record: ReadableLogRecord): void {
    this.#records.push(record);
  }
  take(): ReadableLogRecord[] {
    return this.#records.splice(0);
  }
  async forceFlush(): Promise<void> {}
  async shutdown(): Promise<void> {}
}

export class OtlpSink implements Sink {
  readonly #collector = new Collector();
  readonly #provider: LoggerProvider;
  readonly #exporter: OTLPLogExporter;

  /** `url` is the whole one, such as `http://collector:4318/v1/logs`. */
  constructor(options: HttpOptions, node: string, version: string) {
    this.#provider = new LoggerProvider({
      resource: resourceFromAttributes({
        'service.name': 'axoneme',
        'service.version': version,
        'k8s.node.name': node,
      }),
      processors: [this.#collector],
    });
    this.#exporter = new OTLPLogExporter({ url: options.url, headers: () => headersOf(options) });
  }

  async send(batch: readonly Flow[]): Promise<void> {
    const logger = this.#provider.getLogger('hubble');
    for (const flow of batch) logger.emit(recordOf(flow));
    const records = this.#collector.take();
    await new Promise<void>((resolve, reject) =>
      this.#exporter.export(records, ({ code, error }) =>
        code === SUCCESS ? resolve() : reject(error ?? new Error('the collector refuses')),
      ),
    );
  }

  async close(): Promise<void> {
    await this.#exporter.shutdown();
    await this.#provider.shutdown();
  }
}

function recordOf(flow: Flow): LogRecord {
  const isDrop = flow.verdict === 'DROPPED';
  const ports = flow.l4?.TCP ?? flow.l4?.UDP ?? flow.l4?.SCTP;
  return {
    timestamp: [flow.time.seconds, flow.time.nanos],
    severityNumber: isDrop ? SeverityNumber.WARN : SeverityNumber.INFO,
    severityText: isDrop ? 'WARN' : 'INFO',
    body: summaryOf(flow),
    attributes: {
      'event.name': 'hubble.flow',
      'flow.verdict': flow.verdict,
      'flow.direction': flow.traffic_direction,
      ...(flow.drop_reason_desc && { 'flow.drop_reason': flow.drop_reason_desc }),
      ...(flow.IP && { 'source.address': flow.IP.source, 'destination.address': flow.IP.destination }),
      ...(ports && { 'source.port': ports.source_port, 'destination.port': ports.destination_port }),
      'flow.source': nameOf(flow.source),
      'flow.destination': nameOf(flow.destination),
      'flow.json': JSON.stringify(lineOf(flow)),
    },
  };
}

const nameOf = ({ namespace, pod_name, identity }: Flow['source']): string =>
  pod_name ? `${namespace}/${pod_name}` : `identity ${identity}`;
