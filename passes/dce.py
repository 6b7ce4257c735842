"""Dead code."""

from mcc.ir import Module, Rewriter, RewriteReport

from .base import Pass


class Dce(Pass, name="dce"):
    """A pure op whose results nobody reads -> nothing."""

    def run(self, module: Module, report: RewriteReport) -> Module:
        rewriter = Rewriter(module)
        # From the end, so that a whole chain dies in one walk.
        for op in reversed(list(module.ops())):
            for gone in rewriter.erase_dead([op]):
                report.fired[f"remove {gone.op_name}"] += 1
        return module
