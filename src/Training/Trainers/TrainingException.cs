using Bellman.Kernels;

namespace Bellman.Training.Trainers;

/// <summary>Training cannot go on: a number is no longer finite, or a run folder does not fit.</summary>
public sealed class TrainingException(string message) : BellmanException(message);
