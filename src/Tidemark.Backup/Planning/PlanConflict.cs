using Tidemark.Backup.Definitions;

namespace Tidemark.Backup.Planning;

/// <summary>Why no plan can be made, and what the user can do. Nothing was touched.</summary>
/// <param name="Reason">What stands against it.</param>
/// <param name="Advice">What the user can do.</param>
public sealed record PlanConflict(string Reason, string Advice) : PlanOutcome
{
    /// <summary>The disk concerned, if it is one.</summary>
    public string? Disk { get; init; }

    /// <summary>The node concerned, if it is one.</summary>
    public string? Node { get; init; }

    /// <summary>The bitmap concerned, if it is one.</summary>
    public string? Bitmap { get; init; }

    /// <summary>libvirt's class of the error, where libvirt has it too.</summary>
    public ErrorClass? Class { get; init; }

    /// <inheritdoc/>
    public override string ToString()
    {
        var what = Class is { } known ? $"{known.ToText()}: " : Disk is null ? "" : $"disk '{Disk}': ";
        return $"{what}{Reason}. {Advice}";
    }
}
