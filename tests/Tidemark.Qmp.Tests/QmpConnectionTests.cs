using System.Net.Sockets;
using System.Text.Json.Nodes;
using Tidemark.Testing;
using Xunit;

namespace Tidemark.Qmp.Tests;

public sealed class QmpConnectionTests
{
    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Fact]
    public async Task The_greetings_version_is_kept()
    {
        var (monitor, connection) = await FakeMonitor.ConnectAsync();
        using var _ = monitor;
        await using var __ = connection;
        Assert.Equal(new QmpVersion(7, 2, 22, "x"), connection.Version);
    }

    [Fact]
    public async Task Replies_find_their_callers_in_any_order()
    {
        var (monitor, connection) = await FakeMonitor.ConnectAsync();
        using var _ = monitor;
        await using var __ = connection;
        var calls = Enumerable.Range(0, 50).Select(
            index => connection.ExecuteAsync(new QmpCommand($"c{index}"), Cancellation))
            .ToArray();
        List<(long Id, string Command)> received = [];
        foreach (var call in calls)
        {
            received.Add(await monitor.ReceiveAsync());
        }

        received.Reverse();
        foreach (var (id, command) in received)
        {
            await monitor.SendAsync($$"""{"return": "{{command}}", "id": {{id}}}""");
        }

        for (var index = 0; index < calls.Length; index++)
        {
            Assert.Equal($"c{index}", (await calls[index]).GetString());
        }
    }

    [Fact]
    public async Task An_event_that_comes_before_the_reply_of_its_command_is_delivered()
    {
        var (monitor, connection) = await FakeMonitor.ConnectAsync();
        using var _ = monitor;
        await using var __ = connection;
        using var subscription = connection.Subscribe();
        var call = connection.ExecuteAsync(new QmpCommand("blockdev-backup"), Cancellation);
        var (id, _) = await monitor.ReceiveAsync();
        await monitor.SendAsync("""
            {"timestamp": {"seconds": 1700000000, "microseconds": 250000}, "event": "JOB_STATUS_CHANGE",
             "data": {"status": "created", "id": "j"}}
            """);
        var seen = await subscription.Events.ReadAsync(Cancellation);
        Assert.False(call.IsCompleted);
        Assert.Equal("JOB_STATUS_CHANGE", seen.Name);
        Assert.Equal("created", seen.Data.GetProperty("status").GetString());
        Assert.Equal(1700000000250, seen.Timestamp.ToUnixTimeMilliseconds());
        await monitor.SendAsync($$"""{"return": {}, "id": {{id}}}""");
        await call;
    }

    [Fact]
    public async Task A_refusal_keeps_the_hypervisors_words()
    {
        var (monitor, connection) = await FakeMonitor.ConnectAsync();
        using var _ = monitor;
        await using var __ = connection;
        var call = connection.ExecuteAsync(
            new QmpCommand("blockdev-del", new JsonObject { ["node-name"] = "a" }), Cancellation);
        var message = await monitor.ReceiveRawAsync();
        Assert.Equal("a", message.GetProperty("arguments").GetProperty("node-name").GetString());
        await monitor.SendAsync(
            $$"""{"id": {{message.GetProperty("id").GetInt64()}}, "error": {"class": "GenericError", "desc": "no such node"} }""");
        var error = await Assert.ThrowsAsync<QmpException>(() => call);
        Assert.Equal(
            ("GenericError", "no such node", "blockdev-del"), (error.ErrorClass, error.Description, error.Command));
        Assert.Equal("blockdev-del: no such node", error.Message);
    }

    [Fact]
    public async Task When_the_monitor_goes_everything_pending_fails_and_subscriptions_end()
    {
        var (monitor, connection) = await FakeMonitor.ConnectAsync();
        await using var _ = connection;
        using var subscription = connection.Subscribe();
        var calls =
            Enumerable.Range(0, 5).Select(_ => connection.ExecuteAsync(new QmpCommand("x"), Cancellation)).ToArray();
        monitor.Dispose();
        foreach (var call in calls)
        {
            Assert.Equal(QmpException.MonitorClosed, (await Assert.ThrowsAsync<QmpException>(() => call)).ErrorClass);
        }

        await connection.Closed.WaitAsync(Cancellation);
        await subscription.Events.Completion.WaitAsync(Cancellation);
        await Assert.ThrowsAsync<QmpException>(() => connection.ExecuteAsync(new QmpCommand("x"), Cancellation));
        Assert.True(connection.Subscribe().Events.Completion.IsCompleted);
    }

    [Theory]
    [InlineData("[]")]
    [InlineData("nonsense\n")]
    [InlineData("""{"return": {}, "id": 999}""")]
    [InlineData("""{"return": {}}""")]
    [InlineData("""{"event": 5}""")]
    [InlineData("""{"id": 2}""")]
    [InlineData("""{"id": 2, "error": {"class": 5}}""")]
    public async Task What_is_no_qmp_is_a_protocol_error_for_who_waits(string text)
    {
        var (monitor, connection) = await FakeMonitor.ConnectAsync();
        await using var _ = connection;
        var call = connection.ExecuteAsync(new QmpCommand("x"), Cancellation);
        await monitor.ReceiveAsync();
        await monitor.SendAsync(text);
        var error = await Assert.ThrowsAsync<QmpException>(() => call);
        Assert.Equal(QmpException.ProtocolError, error.ErrorClass);
        monitor.Dispose();
    }

    [Fact]
    public async Task A_caller_that_gives_up_leaves_the_connection_usable()
    {
        var (monitor, connection) = await FakeMonitor.ConnectAsync();
        using var _ = monitor;
        await using var __ = connection;
        using var giveUp = new CancellationTokenSource();
        var abandoned = connection.ExecuteAsync(new QmpCommand("slow"), giveUp.Token);
        var (slow, _) = await monitor.ReceiveAsync();
        await giveUp.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => abandoned);
        var next = connection.ExecuteAsync(new QmpCommand("next"), Cancellation);
        var (id, _) = await monitor.ReceiveAsync();
        await monitor.SendAsync($$"""{"return": 1, "id": {{slow}}}{"return": 2, "id": {{id}}}""");
        Assert.Equal(2, (await next).GetInt32());
    }

    [Fact]
    public async Task A_monitor_that_does_not_greet_is_named_with_the_likely_reason()
    {
        using var folder = new TemporaryDirectory();
        var path = folder.File("m");
        using var listener = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        listener.Bind(new UnixDomainSocketEndPoint(path));
        listener.Listen();
        var error = await Assert.ThrowsAsync<QmpException>(() => QmpConnection.ConnectAsync(
            QmpEndPoint.Unix(path), TimeSpan.FromMilliseconds(100), cancellationToken: Cancellation));
        Assert.Contains($"the monitor at qmp:{path} does not greet", error.Message, StringComparison.Ordinal);
        Assert.Contains("another client is connected", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Nobody_listening_is_an_error_that_names_the_place()
    {
        var error = await Assert.ThrowsAsync<QmpException>(() => QmpConnection.ConnectAsync(
            QmpEndPoint.Unix("/nonexistent/monitor"), cancellationToken: Cancellation));
        Assert.Contains("qmp:/nonexistent/monitor", error.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("{}")]
    [InlineData("SSH-2.0-OpenSSH\r\n")]
    [InlineData("""{"QMP": {"version": 5}}""")]
    public async Task What_greets_otherwise_is_no_monitor(string text)
    {
        var (monitor, client) = FakeMonitor.Create();
        using var _ = monitor;
        var opening =
            QmpConnection.OpenAsync(client, "qmp:fake", TimeSpan.FromSeconds(30), cancellationToken: Cancellation);
        await monitor.SendAsync(text);
        Assert.Equal(QmpException.ProtocolError, (await Assert.ThrowsAsync<QmpException>(() => opening)).ErrorClass);
    }

    [Fact]
    public void End_points_are_told_as_the_command_line_takes_them()
    {
        Assert.Equal("qmp:/run/a.sock", QmpEndPoint.Unix("/run/a.sock").ToString());
        Assert.Equal("qmp:localhost:4444", QmpEndPoint.Tcp("localhost", 4444).ToString());
        Assert.Equal("qmp:[::1]:4444", QmpEndPoint.Tcp("::1", 4444).ToString());
        Assert.Throws<QmpException>(() => QmpEndPoint.Unix(""));
        Assert.Throws<QmpException>(() => QmpEndPoint.Tcp("host", 99999));
    }

    [Fact]
    [Trait("Category", "Interop")]
    public async Task The_real_storage_daemon_answers()
    {
        Assert.SkipWhen(Tool.Missing("qemu-storage-daemon") is not null, "qemu-storage-daemon is not installed");
        await using var daemon = await RealDaemon.StartAsync();
        await using var connection = await QmpConnection.ConnectAsync(daemon.EndPoint, cancellationToken: Cancellation);
        Assert.True(connection.Version.Major >= 5);
        using var events = connection.Subscribe();
        var answers = await Task.WhenAll(Enumerable.Range(0, 100).Select(
            _ => connection.ExecuteAsync(new QmpCommand("query-version"), Cancellation)));
        Assert.All(answers, answer => Assert.Equal(connection.Version, QmpVersion.Read(answer)));
        var error = await Assert.ThrowsAsync<QmpException>(
            () => connection.ExecuteAsync(new QmpCommand("no-such-command"), Cancellation));
        Assert.Equal(QmpException.CommandNotFound, error.ErrorClass);
        await connection.ExecuteAsync(new QmpCommand("blockdev-create", new JsonObject
        {
            ["job-id"] = "c",
            ["options"] = new JsonObject { ["driver"] = "file", ["filename"] = daemon.File("new"), ["size"] = 1 << 20 },
        }), Cancellation);
        var first = await events.Events.ReadAsync(Cancellation);
        Assert.Equal(("JOB_STATUS_CHANGE", "created"), (first.Name, first.Data.GetProperty("status").GetString()));
        await connection.ExecuteAsync(new QmpCommand("quit"), Cancellation);
        await connection.Closed.WaitAsync(Cancellation);
    }
}
