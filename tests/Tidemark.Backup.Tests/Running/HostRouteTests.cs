using System.Net;
using Tidemark.Backup.Definitions;
using Tidemark.Backup.Running;

namespace Tidemark.Backup.Tests.Running;

public sealed class HostRouteTests
{
    [Theory]
    [InlineData("127.0.0.1")]
    [InlineData("127.1.2.3")]
    [InlineData("localhost")]
    public void The_loopback_is_this_host(string host)
    {
        var route = HostRoute.Find(host);
        Assert.True(route.IsThisHost);
        Assert.True(IPAddress.IsLoopback(route.Local));
    }

    [Theory]
    [InlineData("192.0.2.1", "192.0.2.1", true)]
    [InlineData("192.0.2.1", "192.0.2.2", false)]
    [InlineData("2001:db8::1", "2001:db8::1", true)]
    [InlineData("2001:db8::1", "2001:db8::2", false)]
    [InlineData("::1", "::1", true)]
    public void An_address_of_this_host_is_this_host(string local, string remote, bool expected) =>
        Assert.Equal(expected, new HostRoute(IPAddress.Parse(local), IPAddress.Parse(remote)).IsThisHost);

    [Fact]
    public void A_host_that_does_not_exist_is_an_error()
    {
        var error = Assert.Throws<BackupException>(() => HostRoute.Find("no-such-host.invalid"));
        Assert.Equal(BackupErrorKind.Request, error.Kind);
        Assert.Contains("no-such-host.invalid", error.Message, StringComparison.Ordinal);
    }
}
