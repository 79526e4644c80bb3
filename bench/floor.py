"""The least that Temporal can do: one workflow, one activity, one update."""

from datetime import timedelta

from temporalio import workflow


@workflow.defn
class Floor:
    """Run an activity, and another one when told to."""

    @workflow.init
    def __init__(self) -> None:
        self._told = False

    @workflow.run
    async def run(self) -> None:
        """Run the activity `touch`, wait for the update, and run it again."""
        for _ in range(2):
            await workflow.execute_activity("touch", start_to_close_timeout=timedelta(seconds=10))
            await workflow.wait_condition(lambda: self._told)

    @workflow.update
    def tell(self) -> None:
        """Let it go on."""
        self._told = True
