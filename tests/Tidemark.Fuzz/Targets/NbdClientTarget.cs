using Tidemark.Blocks.Extents;
using Tidemark.Nbd.Client;
using Tidemark.Nbd.Protocol;

namespace Tidemark.Fuzz.Targets;

/// <summary>
/// The NBD client under a server that answers anything: connects, and if that works, reads, writes and asks for status,
/// several at once. Whatever the server says, a call ends with a result or an <see cref="NbdException"/>.
/// </summary>
/// <remarks>
/// The first byte decides: what is asked for, and whether the rest is what the server says as it is (so do the recorded
/// conversations), or decides of each answer. Everything runs on one thread: completions are inline, so the caller's
/// next request is sent by the receiving thread, and a peer that is only memory answers when it is asked. When the
/// connection has ended, every call must have: one that waits still would do so for ever, which is found at once.
/// </remarks>
internal sealed class NbdClientTarget : IFuzzTarget
{
    private const byte Raw = 1, NoExtended = 2, NoStructured = 4, Ask = 8, AllExports = 16;

    private static readonly NbdClientOptions[] s_options = [.. Enumerable.Range(0, 4).Select(Options)];

    // Made when it is used: what is instrumented counts in memory that is there only then.
    private FuzzPeerServer? _server;
    private readonly byte[] _first = new byte[1024];
    private readonly byte[] _second = new byte[1024];
    private readonly byte[] _source = new byte[512];

    public string Name => "nbd-client";

    public string Description => "the NBD client, handshake and transmission";

    public IReadOnlyList<string> Assemblies => ["Tidemark.Nbd"];

    public TimeSpan HangLimit => TimeSpan.FromSeconds(20);

    public long MemoryLimit => 256 << 20;

    public long AllocationLimit => 4 << 20;

    public int MaximumInput => 4096;

    public IEnumerable<byte[]> Seeds()
    {
        foreach (var kind in new byte[] { 0, NoExtended, NoExtended | NoStructured, Ask, Ask | AllExports })
        {
            yield return [(byte)(kind | Raw), .. NbdRecording.OfServer(transport => Talk(transport, kind))];
            yield return [kind, .. new byte[256]];
            yield return [kind, .. Enumerable.Repeat((byte)1, 512)];
            yield return [kind, 0, 1, 1, 1, 1, 1, 2, 2, 2, 2, 100, 100, 100, .. new byte[128]];
            yield return [kind, 0, 250, 3, 0, 1, 0, 1, 0, 1, 0, .. new byte[64]];
            yield return [kind, 0, 250, 250, 250, 0, 1, 0, .. new byte[64]];
        }
    }

    public void Execute(ReadOnlySpan<byte> input)
    {
        var kind = input.IsEmpty ? (byte)0 : input[0];
        var bytes = input.ToArray();
        if ((kind & Raw) != 0)
        {
            using var script = new ScriptTransport(bytes, start: 1);
            Talk(script, kind);
        }
        else
        {
            _server ??= new FuzzPeerServer();
            _server.Begin(bytes, start: 1);
            Talk(_server, kind);
        }
    }

    private static NbdClientOptions Options(int kind) => new()
    {
        ExportName = "vda",
        MetaContexts = ["base:allocation", "qemu:"],
        UseExtendedHeaders = (kind & 1) == 0,
        UseStructuredReplies = (kind & 2) == 0,
        MaximumRequests = 4,
        InlineCompletions = true,
        TimeProvider = new TimersThatNeverFire(),
    };

    private void Talk(NbdTransport transport, byte kind)
    {
        var options = s_options[(kind >> 1) & 3];
        try
        {
            if ((kind & Ask) != 0)
            {
                AskOnly(transport, options, (kind & AllExports) != 0);
            }
            else
            {
                Enter(transport, options);
            }
        }
        catch (Exception exception) when (exception is NbdException or IOException)
        {
            // A handshake's loss is an IOException down here; the connector above turns it into an NbdException.
        }
    }

    private static void AskOnly(NbdTransport transport, NbdClientOptions options, bool all)
    {
        var receiver = new ReceiveBuffer(transport, 4096);
        var handshake = new ClientHandshake(transport, receiver, options, "localhost");
        handshake.Greet();
        handshake.Describe(all ? null : options.ExportName);
        handshake.Abort();
    }

    private void Enter(NbdTransport transport, NbdClientOptions options)
    {
        // Its continuation is the conversation; it runs inline, before the first reply is received.
        var connected = new TaskCompletionSource<NbdClient>();
        var conversation = ConverseAsync(connected.Task);
        NbdClient.Run(transport, options, "localhost", connected);
        if (!conversation.IsCompleted)
        {
            throw new InvalidOperationException("the connection has ended, and a caller still waits");
        }

        conversation.GetAwaiter().GetResult();
        var client = connected.Task.Result;
        if (client.Failure is { } failure and not (NbdException or IOException))
        {
            throw new InvalidOperationException("the connection has ended in a way of its own", failure);
        }

        if (!client.DisposeAsync().AsTask().IsCompleted)
        {
            throw new InvalidOperationException("the connection has ended, and closing still waits");
        }
    }

    private async Task ConverseAsync(Task<NbdClient> connected)
    {
        var client = await connected.ConfigureAwait(false);
        if (client.Length >= 8192)
        {
            var reading = ReadAsync(client);
            var asking = StatusAsync(client);
            var writing = client.IsReadOnly ? Task.CompletedTask : WriteAsync(client);
            await reading.ConfigureAwait(false);
            await asking.ConfigureAwait(false);
            await writing.ConfigureAwait(false);
        }

        client.BeginClose();
    }

    // Each of these catches for itself: an exception that passes through a task costs as much as all the rest.
    private async Task ReadAsync(NbdClient client)
    {
        try
        {
            await client.ReadAsync(4096, _first).ConfigureAwait(false);
            await client.ReadAsync(0, _first.AsMemory(0, 512)).ConfigureAwait(false);
            await client.CacheAsync(0, 4096).ConfigureAwait(false);
            await client.ReadAsync(512, _first.AsMemory(0, 512)).ConfigureAwait(false);
        }
        catch (NbdException)
        {
        }
    }

    private async Task StatusAsync(NbdClient client)
    {
        try
        {
            foreach (var context in client.MetaContexts)
            {
                List<NbdExtent> states = [];
                await client.GetMetaContextAsync(context, 0, 8192, states).ConfigureAwait(false);
                CheckWhole(states, 8192);
                if (context == "base:allocation")
                {
                    await client.GetExtentsAsync(context, 512, 4096, new ExtentList()).ConfigureAwait(false);
                }
            }

            await client.ReadAsync(0, _second).ConfigureAwait(false);
        }
        catch (NbdException)
        {
        }
    }

    private async Task WriteAsync(NbdClient client)
    {
        try
        {
            await client.WriteAsync(0, _source, forceUnitAccess: true).ConfigureAwait(false);
            await client.WriteZeroesAsync(4096, 4096).ConfigureAwait(false);
            await client.TrimAsync(0, 512).ConfigureAwait(false);
            await client.FlushAsync().ConfigureAwait(false);
            await client.WriteAsync(1024, _source).ConfigureAwait(false);
        }
        catch (NbdException)
        {
        }
    }

    // What is said to be described must be: a gap would be a range that is silently not copied.
    private static void CheckWhole(List<NbdExtent> states, long length)
    {
        long at = 0;
        foreach (var state in states)
        {
            if (state.Offset != at || state.Length <= 0)
            {
                throw new InvalidOperationException($"an extent at {state.Offset} where {at} was expected");
            }

            at = state.End;
        }

        if (at != length)
        {
            throw new InvalidOperationException($"status ends at {at} of {length}");
        }
    }
}
