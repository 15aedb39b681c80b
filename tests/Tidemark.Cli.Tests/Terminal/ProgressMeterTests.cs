using Tidemark.Cli.Terminal;

namespace Tidemark.Cli.Tests.Terminal;

public sealed class ProgressMeterTests
{
    private const long MiB = 1 << 20;

    [Fact]
    public async Task Without_a_terminal_a_plain_line_comes_at_each_interval()
    {
        var time = new ManualTime();
        using var console = new TestConsole(time: time);
        await using var meter = new ProgressMeter(console.Console, "disk0", 800 * MiB);

        meter.Report(100 * MiB);
        time.Advance(ProgressMeter.PlainInterval);
        meter.Report(350 * MiB);
        time.Advance(ProgressMeter.PlainInterval);

        Assert.Equal(
            """
            disk0  100 MiB of 800 MiB  12 %  20.0 MiB/s  0:35 left
            disk0  350 MiB of 800 MiB  43 %  50.0 MiB/s  0:09 left

            """,
            console.Error);
        Assert.Empty(console.Output);
    }

    [Fact]
    public async Task Short_work_shows_nothing()
    {
        var time = new ManualTime();
        using var console = new TestConsole(time: time);
        await using (var meter = new ProgressMeter(console.Console, "disk0", MiB))
        {
            meter.Report(MiB);
        }

        time.Advance(TimeSpan.FromMinutes(1));
        Assert.Empty(console.Error);
    }

    [Fact]
    public async Task On_a_terminal_the_line_is_rewritten_gives_way_to_messages_and_is_gone_at_the_end()
    {
        var time = new ManualTime();
        using var console = new TestConsole(time: time, isTerminal: true);
        await using (var meter = new ProgressMeter(console.Console, "disk0", 100 * MiB))
        {
            meter.Report(50 * MiB);
            time.Advance(ProgressMeter.LiveInterval);
            console.Console.WriteMessage("a message");
        }

        // The cursor is hidden, the line drawn, wiped for the message, drawn again (and at the end once more), wiped
        // and the cursor shown.
        const string line = "━━━━━━       disk0  50.0 MiB of 100 MiB  50 %  333 MiB/s  0:01 left";
        const string wipe = "\u001b[2K";
        Assert.Equal(
            $"\u001b[?25l{line}{wipe}\ra message\n{line}\r{line}\r{wipe}\u001b[?25h", console.Error);
    }

    [Fact]
    public async Task Work_of_unknown_size_shows_on_a_terminal_and_a_long_line_is_cut_to_its_width()
    {
        var time = new ManualTime();
        using var console = new TestConsole(time: time, isTerminal: true);
        await using (new ProgressMeter(console.Console, new string('[', 200)))
        {
            time.Advance(ProgressMeter.LiveInterval);
        }

        Assert.Contains("[[[…", console.Error);
        Assert.DoesNotContain(new string('[', 100), console.Error);
        Assert.DoesNotContain('\n', console.Error);
    }

    [Fact]
    public async Task A_pause_shows_as_a_falling_rate_and_no_promise_of_an_end()
    {
        var time = new ManualTime();
        using var console = new TestConsole(time: time);
        await using var meter = new ProgressMeter(console.Console, "disk0", 100 * MiB);
        meter.Report(50 * MiB);
        time.Advance(ProgressMeter.PlainInterval * 3);

        Assert.EndsWith("disk0  50.0 MiB of 100 MiB  50 %  0 B/s\n", console.Error);
    }
}
