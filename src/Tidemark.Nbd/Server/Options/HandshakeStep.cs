namespace Tidemark.Nbd.Server.Options;

/// <summary>What follows an option.</summary>
internal enum HandshakeStep
{
    /// <summary>The next option.</summary>
    NextOption,

    /// <summary>The transmission phase.</summary>
    Transmission,

    /// <summary>The connection ends.</summary>
    End,
}
