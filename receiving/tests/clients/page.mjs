// Sends what the tests expect from a web page, with a vendor's bundle as npm has it: see page.html, which names
// the client, the address and the key in its query. USERS users get the trait `vip: true` and do something, then
// every (USERS / LEAVERS)-th gets `false`; each of EVENTS events has a number.
const asked = new URLSearchParams(location.search)
const [client, address, key] = ['client', 'address', 'key'].map((name) => asked.get(name))
const [users, leavers, events] = ['users', 'leavers', 'events'].map((name) => Number(asked.get(name)))
const user = (n) => `user-${n}`

const loaded = (path) =>
  new Promise((resolve, reject) => {
    const script = document.createElement('script')
    Object.assign(script, { src: `/node_modules/${path}`, onload: resolve, onerror: reject })
    document.head.append(script)
  })

// Each client is {identify(user, value), track(user, number)}; a track comes after its user's identify.
const clients = {
  async segment() {
    await loaded('@segment/analytics-next/dist/umd/index.js')
    const [made] = await AnalyticsNext.AnalyticsBrowser.load(
      // What Segment's own servers would say of the source.
      { writeKey: key, cdnSettings: { integrations: { 'Segment.io': { apiKey: key } } } },
      { integrations: { 'Segment.io': { apiHost: `${address.replace(/^http:../, '')}/v1`, protocol: 'http' } } },
    )
    return {
      identify: (id, vip) => made.identify(id, { vip }),
      track: (id, n) => made.track('bought', { n }),
    }
  },
  async rudderstack() {
    await loaded('@rudderstack/analytics-js/dist/npm/modern/bundled/umd/index.js')
    const made = new rudderanalytics.RudderAnalytics()
    // As above, of RudderStack's.
    const source = { id: 's', name: 's', writeKey: key, enabled: true, workspaceId: 'w', destinations: [], config: {} }
    made.load(key, address, { getSourceConfig: () => ({ source }) })
    return {
      identify: (id, vip) => made.identify(id, { vip }),
      track: (id, n) => made.track('bought', { n }),
    }
  },
  async amplitude() {
    await loaded('@amplitude/analytics-browser/lib/scripts/amplitude-min.umd.js')
    const made = amplitude.createInstance()
    const quiet = { autocapture: false, remoteConfig: { fetchRemoteConfig: false }, flushIntervalMillis: 50 }
    await made.init(key, { serverUrl: `${address}/2/httpapi`, ...quiet }).promise
    return {
      identify: (user_id, vip) => made.identify(new amplitude.Identify().set('vip', vip), { user_id }),
      track: (user_id, n) => made.track('bought', { n }, { user_id }),
    }
  },
}

const made = await clients[client]()
for (let n = 0; n < users; n++) {
  made.identify(user(n), true)
  for (let event = n; event < events; event += users) made.track(user(n), event)
}
await new Promise((done) => setTimeout(done, 20))
for (let n = 0; n < leavers; n++) made.identify(user(n * (users / leavers)), false)
