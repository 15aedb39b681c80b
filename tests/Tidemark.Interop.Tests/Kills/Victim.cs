namespace Tidemark.Interop.Tests.Kills;

/// <summary>Who is killed.</summary>
public enum Victim
{
    /// <summary>The program, in the middle of its verb.</summary>
    Tidemark,

    /// <summary>The hypervisor that it drives.</summary>
    Hypervisor,
}
