%%% @doc A timeout of several steps: when it is over, and how much of it each step still has.
-module(py_deadline).

-export([after_ms/1, left_ms/1, is_over/1]).
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

-spec is_over(deadline()) -> boolean().
is_over(Deadline) -> left_ms(Deadline) =:= 0.
