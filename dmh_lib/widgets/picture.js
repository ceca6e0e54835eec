// A figure that Plotly draws; the page loads Plotly once, from the model that holds its source.

// what has room beside a title: a download and a way back; zooming needs no button
const TOOLBAR = {
  displaylogo: false,
  showSendToCloud: false,
  modeBarButtons: [["toImage", "resetScale2d"]],
};

function run(source) {
  // as a script of its own, where no module loader catches it
  const code = `(function () { var define, module, exports; ${source}\n}).call(window);`;
  const url = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
  return new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = url;
    script.onload = () => resolve(window.Plotly);
    script.onerror = () => reject(new Error("Plotly did not load; reload the page"));
    document.head.append(script);
  });
}

function plotly(model) {
  window.dmhPlotly ??= model.widget_manager
    .get_model(model.get("_plotly").replace("IPY_MODEL_", ""))
    .then((library) => run(library.get("source")));
  return window.dmhPlotly;
}

async function render({ model, el }) {
  const Plotly = await plotly(model);
  const node = document.createElement("div");
  el.append(node);
  const figure = () => JSON.parse(model.get("_figure"));
  const { width, height } = figure().layout;
  node.style.cssText = `min-width: ${width}px; min-height: ${height}px`; // so that nothing moves when it is drawn
  let onPage = false;
  const draw = () => {
    if (!onPage) return;
    const { data, layout } = figure();
    Plotly.react(node, data, layout, TOOLBAR);
  };
  // Plotly measures texts, which have no size before the node is on the page or while its tab is hidden
  const appearance = new ResizeObserver(() => {
    if (node.offsetWidth === 0) return;
    appearance.disconnect();
    onPage = true;
    draw();
  });
  appearance.observe(node);
  model.on("change:_figure", draw);
  return () => {
    appearance.disconnect();
    model.off("change:_figure", draw);
    Plotly.purge(node);
  };
}

export default { render };
