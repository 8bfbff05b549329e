import type { ExecutionResult } from 'graphql';

const next = 'event: next\ndata: ';
const complete = 'event: complete\n';

/** The results of a subscription, as the server's events bring them; whoever leaves off early ends the request. */
export function readEvents(body: ReadableStream<Uint8Array>, stop: AbortController): AsyncIterable<ExecutionResult> {
  const results = read(body, stop.signal);
  return {
    [Symbol.asyncIterator]: () => ({
      next: () => results.next(),
      // A generator's own `return` waits for the next event. GraphiQL's stop button does not mean that.
      async return() {
        stop.abort();
        return { done: true, value: undefined };
      },
    }),
  };
}

async function* read(body: ReadableStream<Uint8Array>, stopped: AbortSignal): AsyncGenerator<ExecutionResult, void> {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let text = '';
  try {
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      const events = (text + decoder.decode(part.value, { stream: true })).split('\n\n');
      text = events.pop()!;
      for (const event of events) {
        if (event.startsWith(next)) yield JSON.parse(event.slice(next.length));
        if (event.startsWith(complete)) return;
      }
    }
  } catch (error) {
    if (stopped.aborted) return;
    throw error;
  }
  throw new Error('The server ended the stream before it was complete. Run it again.');
}
