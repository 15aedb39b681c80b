namespace Tidemark.Nbd.Protocol;

/// <summary>Whether a connection is encrypted; the names are nbdkit's.</summary>
public enum NbdTlsMode
{
    /// <summary>Never: a server refuses STARTTLS, a client does not ask for it.</summary>
    Disable,

    /// <summary>If the other side wants: a server serves both kinds of clients, a client goes on without if the server
    /// cannot. Protects against nobody who can change what is sent.</summary>
    Allow,

    /// <summary>Always: a server answers nothing else before, a client ends the connection if the server
    /// cannot.</summary>
    Require,
}
