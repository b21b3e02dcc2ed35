namespace Bellman.Training.Data;

/// <summary>What happens to a trajectory that cannot be trained on.</summary>
public enum DropPolicy
{
    /// <summary>It is left out, and the report counts it.</summary>
    Drop,

    /// <summary>Loading stops with an error that names its line.</summary>
    Refuse,
}
