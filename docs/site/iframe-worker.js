// Browsers start no worker for a page that was opened as a file, so search runs in a hidden frame there. The theme
// looks for a file and a class of these names; without them it would load both from the network.
if (location.protocol === "file:") {
  class IFrameWorker extends EventTarget {
    constructor(url) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      document.body.append(frame);
      const inner = frame.contentWindow;
      const load = (src) =>
        new Promise((onload, onerror) => {
          const script = Object.assign(inner.document.createElement("script"), { src, onload, onerror });
          inner.document.body.append(script);
        });
      // What a worker finds around itself.
      inner.importScripts = (...urls) =>
        urls.reduce((before, each) => before.then(() => load(each)), Promise.resolve());
      inner.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
      this.inner = inner;
      this.loaded = load(new URL(url, location.href).href);
    }

    postMessage(data) {
      this.loaded.then(() => this.inner.dispatchEvent(new MessageEvent("message", { data })));
    }
  }
  window.Worker = window.IFrameWorker = IFrameWorker;
}
