%%% @doc A timeout of several steps: when it is over, and how much of it each step still has.
%%% @private
-module(py_deadline).

-export([after_ms/1, left_ms/1, is_over/1, timed/2]).
-export_type([deadline/0]).

-type deadline() :: integer() | infinity.
%% In milliseconds of the monotonic clock of this node: of no meaning on another one.

%% @doc The deadline of a timeout that begins now.
-spec after_ms(timeout()) -> deadline().
after_ms(infinity) -> infinity;
after_ms(Timeout) -> erlang:monotonic_time(millisecond) + Timeout.

%% @doc The timeout that is left, 0 when the deadline is over.
-spec left_ms(deadline()) -> timeout().
left_ms(infinity) -> infinity;
left_ms(Deadline) -> max(0, Deadline - erlang:monotonic_time(millisecond)).

%% @doc Whether nothing of it is left.
-spec is_over(deadline()) -> boolean().
is_over(Deadline) -> left_ms(Deadline) =:= 0.

%% @doc The options of a call that has what is left; as they are where there is no deadline.
-spec timed(Options, deadline()) -> Options when Options :: map().
timed(Options, infinity) -> Options;
timed(Options, Deadline) -> Options#{timeout => left_ms(Deadline)}.
