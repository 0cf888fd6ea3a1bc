// The trend, drawn on a canvas (an SVG chart or an HTML tooltip would need style attributes, which our policy forbids).
import * as echarts from "../vendored/echarts/echarts.esm.min.mjs";

const box = document.getElementById("trend-chart");
const source = document.getElementById("trend-data");
if (box && source) {
  const points = JSON.parse(source.textContent);
  let chart = null;
  const draw = () => {
    const css = getComputedStyle(document.documentElement);
    const of = (name) => css.getPropertyValue(name).trim();
    chart?.dispose();
    chart = echarts.init(box, null, { renderer: "canvas" });
    chart.setOption({
      animation: false,
      textStyle: { fontFamily: getComputedStyle(document.body).fontFamily, color: of("--lb-quiet") },
      grid: { left: 8, right: 12, top: 36, bottom: 8, containLabel: true },
      tooltip: { trigger: "axis", renderMode: "richText" },
      xAxis: { type: "category", data: points.map((point) => point.month.slice(2)), axisLine: { lineStyle: { color: of("--lb-line") } }, axisLabel: { color: of("--lb-quiet") } },
      yAxis: { type: "value", minInterval: 1, name: box.dataset.label, nameTextStyle: { align: "left", color: of("--lb-quiet") }, splitLine: { lineStyle: { color: of("--lb-line") } }, axisLabel: { color: of("--lb-quiet") } },
      series: [{ type: "bar", name: box.dataset.label, data: points.map((point) => point.issued), itemStyle: { color: of("--tblr-primary"), borderRadius: [3, 3, 0, 0] }, barMaxWidth: 28 }],
    });
  };
  draw();
  addEventListener("resize", () => chart.resize());
  new MutationObserver(draw).observe(document.documentElement, { attributes: true, attributeFilter: ["data-bs-theme"] });
}
