// A figure that Plotly draws; the page loads Plotly once, from the model that holds its source.

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
  const draw = () => {
    const { data, layout } = JSON.parse(model.get("_figure"));
    return Plotly.react(node, data, layout, { displaylogo: false, showSendToCloud: false });
  };
  model.on("change:_figure", draw);
  await draw();
  return () => {
    model.off("change:_figure", draw);
    Plotly.purge(node);
  };
}

export default { render };
