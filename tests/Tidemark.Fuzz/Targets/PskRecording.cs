using Tidemark.Nbd.Protocol;
using Tidemark.Nbd.Tls;

namespace Tidemark.Fuzz.Targets;

/// <summary>A handshake with a shared key between our client and our server, and a few words after it.</summary>
internal static class PskRecording
{
    internal const string User = "alice";

    private const byte ClientSeed = 1, ServerSeed = 2;

    internal static byte[] Key => [.. Enumerable.Repeat((byte)0x55, 32)];

    /// <summary>The keys of the server.</summary>
    internal static PskFile Keys()
    {
        var path = Path.Combine(Path.GetTempPath(), $"tidemark-fuzz-{Guid.NewGuid():N}.psk");
        try
        {
            File.WriteAllText(path, $"{User}:{Convert.ToHexString(Key)}\nbob:{new string('3', 64)}\n");
            return PskFile.Load(path);
        }
        finally
        {
            File.Delete(path);
        }
    }

    /// <summary>What the client and the server said.</summary>
    internal static (byte[] Client, byte[] Server) Record(PskFile keys, bool finiteFields)
    {
        var (ours, theirs) = SocketTransport.CreatePair();
        using var client = new RecordingTransport(ours);
        using var server = new RecordingTransport(theirs);
        var serving = Task.Run(() => Serve(server, keys, finiteFields));
        Call(client, finiteFields);
        ours.EndSending();
        serving.GetAwaiter().GetResult();
        return (server.Received, client.Received);
    }

    /// <summary>The server's part; returns when the client has ended.</summary>
    internal static void Serve(NbdTransport below, PskFile keys, bool finiteFields) =>
        Talk(PskTransport.Accept(below, keys, new FixedTlsCrypto(ServerSeed, finiteFields)), answers: true);

    /// <summary>The client's part.</summary>
    internal static void Call(NbdTransport below, bool finiteFields) =>
        Talk(
            PskTransport.Connect(below, User, Key, new FixedTlsCrypto(ClientSeed, finiteFields)), answers: false);

    // The client says two things and hears an answer to the second, which may come in pieces.
    private static void Talk(PskTransport transport, bool answers)
    {
        Span<byte> target = stackalloc byte[64];
        if (!answers)
        {
            transport.Send("first"u8, default);
            transport.Send("second"u8, "third"u8);
        }

        while (transport.Receive(target) is > 0 and var count)
        {
            if (!answers)
            {
                break;
            }

            transport.Send(target[..count], default);
        }

        transport.EndSession();
    }
}
