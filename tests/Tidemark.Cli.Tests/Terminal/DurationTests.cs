using Tidemark.Cli.Terminal;

namespace Tidemark.Cli.Tests.Terminal;

public sealed class DurationTests
{
    [Theory]
    [InlineData(0.123, "0.12 s")]
    [InlineData(9.996, "10.0 s")]
    [InlineData(59.9, "59.9 s")]
    [InlineData(59.96, "0 min 59 s")]
    [InlineData(245, "4 min 05 s")]
    [InlineData(7625, "2 h 07 min")]
    public void Format(double seconds, string text) =>
        Assert.Equal(text, Duration.Format(TimeSpan.FromSeconds(seconds)));

    [Theory]
    [InlineData(0.2, "0:01")]
    [InlineData(65, "1:05")]
    [InlineData(12000, "3:20:00")]
    public void Clock(double seconds, string text) => Assert.Equal(text, Duration.Clock(TimeSpan.FromSeconds(seconds)));
}
