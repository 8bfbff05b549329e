import type { Fetcher } from './fetcher';

const question = { query: '{ __schema { queryType { name } } }' };

/** A fetcher that tells when the schema, refused to whoever had not logged in, would be given after all. */
export function watchingForTheSchema(fetcher: Fetcher, onceGiven: () => void): Fetcher {
  let refused = false;

  // A refusal of GraphiQL's own question takes the place of the answer that somebody reads. So this one goes first.
  async function ask(options: Parameters<Fetcher>[1]) {
    if (!isRefused(await fetcher(question, options)) && refused) {
      refused = false;
      onceGiven();
    }
  }

  return async (operation, options) => {
    const answer = await fetcher(operation, options);
    if (operation.operationName === 'IntrospectionQuery') refused = isRefused(answer);
    else if (refused && !isRefused(answer)) void ask(options);
    return answer;
  };
}

function isRefused(answer: unknown): boolean {
  const { errors } = answer as { errors?: { extensions?: { code?: string } }[] };
  return errors?.some((error) => error.extensions?.code === 'UNAUTHENTICATED') ?? false;
}
