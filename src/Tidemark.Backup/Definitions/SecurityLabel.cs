namespace Tidemark.Backup.Definitions;

/// <summary>A security label of an image: the element <c>seclabel</c>. It is carried through and not acted
/// on.</summary>
/// <param name="Model">The security model (<c>dac</c>, <c>selinux</c>…); null for the default one.</param>
/// <param name="Relabel">Whether the image is to be relabelled.</param>
/// <param name="LabelSkip">Whether the label is to be left out of consideration.</param>
/// <param name="Label">The label itself; null when none was given.</param>
public sealed record SecurityLabel(string? Model, bool Relabel, bool LabelSkip, string? Label);
