import type { GraphiQLProps } from 'graphiql';

export const fetcher: GraphiQLProps['fetcher'] = async (operation, options) => {
  const headers = new Headers({
    'Content-Type': 'application/json',
    Accept: 'application/graphql-response+json, application/json',
  });
  for (const [name, value] of Object.entries<string>(options?.headers ?? {})) headers.set(name, value);

  const response = await fetch('/graphql', {
    method: 'POST',
    credentials: 'same-origin',
    headers,
    body: JSON.stringify(operation),
  });
  // Our refusals are JSON whatever their status, and worth reading. A proxy's error page is not.
  if (!/[/+]json\b/.test(response.headers.get('Content-Type') ?? '')) {
    throw new Error(`The server answered ${response.status} ${response.statusText} and no JSON.`);
  }
  return response.json();
};
