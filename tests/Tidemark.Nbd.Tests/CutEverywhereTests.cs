using Tidemark.Nbd.Client;
using Tidemark.Nbd.Protocol;
using Tidemark.Nbd.Server;
using Tidemark.Nbd.Tls;
using Tidemark.Testing;
using Xunit;

namespace Tidemark.Nbd.Tests;

/// <summary>
/// A whole conversation of our client and our server that is cut after any byte of either direction, with every form of
/// headers and under TLS: both sides end, in time, with nothing left, and what the client was told is true.
/// </summary>
public sealed class CutEverywhereTests
{
    private const int Size = 8192;
    private const int Margin = 512;

    private static readonly TimeSpan s_limit = TimeSpan.FromSeconds(10);

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    // Whether the client's words are cut, its form of headers, and TLS with certificates or shared keys.
    [Theory]
    [InlineData(true, false, "")]
    [InlineData(false, false, "")]
    [InlineData(true, true, "")]
    [InlineData(false, true, "")]
    [InlineData(true, true, "x509")]
    [InlineData(false, true, "x509")]
    [InlineData(true, true, "psk")]
    [InlineData(false, true, "psk")]
    public async Task Both_sides_survive_a_cut_after_any_byte(bool ofClient, bool extended, string tls)
    {
        using var directory = new TemporaryDirectory();
        var (ofServer, ofClients) = Credentials(directory, tls);
        var encrypted = tls.Length > 0;
        await using var fixture = await NbdFixture.StartAsync(new NbdServerOptions { Tls = ofServer });
        var content = new byte[Size];
        new Random(1).NextBytes(content);
        var export = fixture.Export("vda", new MemoryNode("disk", content), new NbdExportOptions { Writable = true });
        var options = new NbdClientOptions
        {
            ExportName = "vda",
            MetaContexts = ["base:allocation"],
            UseExtendedHeaders = extended,
            Tls = ofClients,
        };

        // TLS is not the same twice: sessions are resumed, with a ticket in the first message and without certificates.
        // So there only the end of all is told, by a margin.
        var (whole, sent, received) = await TalkAsync(fixture, options, content, long.MaxValue, long.MaxValue);
        Assert.True(whole);
        var total = ofClient ? sent : received;
        foreach (var length in Lengths(total, encrypted))
        {
            var (complete, _, _) = ofClient
                ? await TalkAsync(fixture, options, content, length, long.MaxValue)
                : await TalkAsync(fixture, options, content, long.MaxValue, length);
            Assert.False(
                complete && !encrypted && length < total - 60, $"complete after {length} of {total} bytes");
            Assert.True(
                complete || length < total + (encrypted ? Margin : 0), $"not complete after {length} of {total} bytes");
        }

        Assert.Equal(0, fixture.Server.ConnectionCount);
        Assert.Equal(0, export.ConnectionCount);
        Assert.Equal(0, fixture.Server.Buffers.Taken);
        Assert.Equal(0, fixture.Server.Budget.Taken);
    }

    private static (NbdServerTls? Server, NbdClientTls? Client) Credentials(TemporaryDirectory directory, string tls)
    {
        switch (tls)
        {
            case "x509":
                var folder = new TestCertificates(directory).Folder;
                return (NbdServerTls.Load(folder, verifyClients: true), NbdClientTls.Load(folder));
            case "psk":
                var keys = directory.File("keys.psk");
                File.WriteAllText(keys, $"alice:{new string('5', 64)}\n");
                return (NbdServerTls.LoadKeys(keys), NbdClientTls.LoadKey(keys, "alice"));
            default:
                return (null, null);
        }
    }

    // A handshake of TLS costs milliseconds: each byte in a soak, otherwise every so many, from a random one on.
    private static IEnumerable<long> Lengths(long total, bool encrypted)
    {
        var step = encrypted && Environment.GetEnvironmentVariable("TIDEMARK_SOAK") is null ? 41 : 1;
        for (long length = step == 1 ? 0 : Random.Shared.Next(step); length <= total + (encrypted ? 2 * Margin : 0);
            length += step)
        {
            yield return length;
        }
    }

    private static async Task<(bool Complete, long Sent, long Received)> TalkAsync(
        NbdFixture fixture, NbdClientOptions options, byte[] content, long sendLimit, long receiveLimit)
    {
        var (ours, theirs) = SocketTransport.CreatePair();
        var connection = fixture.Server.Serve(theirs);
        var transport = new CutTransport(ours, sendLimit, receiveLimit);
        var complete = await ConverseAsync(transport, options, content).WaitAsync(s_limit, Cancellation);
        await connection.Completed.WaitAsync(s_limit, Cancellation);
        return (complete, transport.Sent, transport.Received);
    }

    private static async Task<bool> ConverseAsync(CutTransport transport, NbdClientOptions options, byte[] content)
    {
        try
        {
            await using var client = await NbdClient.ConnectAsync(transport, options);
            var target = new byte[1024];
            await client.ReadAsync(512, target, Cancellation);
            Assert.True(target.AsSpan().SequenceEqual(content.AsSpan(512, 1024)));
            List<NbdExtent> extents = [];
            await client.GetMetaContextAsync("base:allocation", 0, Size, extents, Cancellation);
            Assert.Equal(Size, extents[^1].End);

            // The same bytes again, so that each round begins alike.
            await client.WriteAsync(512, target, cancellationToken: Cancellation);
            await client.FlushAsync(Cancellation);
            return true;
        }
        catch (NbdException)
        {
            return false;
        }
    }
}
