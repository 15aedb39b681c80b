using Tidemark.Cli.Terminal;

namespace Tidemark.Cli.Tests.Terminal;

public sealed class ProgressMeterTests
{
    private const long MiB = 1 << 20;

    [Fact]
    public void Without_a_terminal_a_plain_line_comes_at_each_interval()
    {
        var time = new ManualTime();
        using var console = new TestConsole(time: time);
        using var meter = new ProgressMeter(console.Console, "disk0", 800 * MiB);

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
    public void Short_work_shows_nothing()
    {
        var time = new ManualTime();
        using var console = new TestConsole(time: time);
        using (var meter = new ProgressMeter(console.Console, "disk0", MiB))
        {
            meter.Report(MiB);
        }

        time.Advance(TimeSpan.FromMinutes(1));
        Assert.Empty(console.Error);
    }

    [Fact]
    public void On_a_terminal_the_line_is_rewritten_gives_way_to_messages_and_is_gone_at_the_end()
    {
        var time = new ManualTime();
        using var console = new TestConsole(time: time, isTerminal: true);
        using (var meter = new ProgressMeter(console.Console, "disk0", 100 * MiB))
        {
            meter.Report(50 * MiB);
            time.Advance(ProgressMeter.LiveInterval);
            console.Console.WriteMessage("a message");
        }

        var line = "disk0  50.0 MiB of 100 MiB  50 %  333 MiB/s  0:01 left";
        const string erase = "\r\u001b[2K";
        Assert.Equal($"{erase}{line}{erase}a message\n{line}{erase}", console.Error);
    }

    [Fact]
    public void A_pause_shows_as_a_falling_rate_and_no_promise_of_an_end()
    {
        var time = new ManualTime();
        using var console = new TestConsole(time: time);
        using var meter = new ProgressMeter(console.Console, "disk0", 100 * MiB);
        meter.Report(50 * MiB);
        time.Advance(ProgressMeter.PlainInterval * 3);

        Assert.EndsWith("disk0  50.0 MiB of 100 MiB  50 %  0 B/s\n", console.Error);
    }
}
